//! Named formats of strings: `format.dns1123Label().validate(s)`.

use machinery::validation as rules;

use super::strings::{nth, one};
use super::{Answer, Extension, Row};
use crate::error::EvalError;
use crate::value::Val;

/// A format: what is wrong with a string, and the length of the expression that costs are counted by.
#[derive(Debug)]
pub struct Format {
    pub(crate) name: &'static str,
    validate: fn(&str) -> Vec<String>,
    pub(crate) regex_size: u64,
}

const FORMATS: &[Format] = &[
    Format { name: "dns1123Label", validate: |s| rules::name_is_dns_label(s, false), regex_size: 30 },
    Format { name: "dns1123Subdomain", validate: |s| rules::name_is_dns_subdomain(s, false), regex_size: 60 },
    Format { name: "dns1035Label", validate: |s| rules::name_is_dns1035_label(s, false), regex_size: 30 },
    Format { name: "qualifiedName", validate: rules::qualified_name, regex_size: 60 },
    Format { name: "dns1123LabelPrefix", validate: |s| rules::name_is_dns_label(s, true), regex_size: 30 },
    Format { name: "dns1123SubdomainPrefix", validate: |s| rules::name_is_dns_subdomain(s, true), regex_size: 60 },
    Format { name: "dns1035LabelPrefix", validate: |s| rules::name_is_dns1035_label(s, true), regex_size: 30 },
    Format { name: "labelValue", validate: rules::label_value, regex_size: 40 },
    Format { name: "uri", validate: |s| super::url::parse_request_uri(s).err().into_iter().collect(), regex_size: 1103 },
    Format { name: "uuid", validate: |s| unless(uuid(s), "does not match the UUID format"), regex_size: 69 },
    Format { name: "byte", validate: |s| unless(byte(s), "invalid base64"), regex_size: 84 },
    Format { name: "date", validate: |s| unless(date(s), "invalid date"), regex_size: 135 },
    Format {
        name: "datetime",
        validate: |s| unless(super::time::parse_timestamp(s).is_some(), "invalid datetime"),
        regex_size: 135,
    },
];

pub(super) const FUNCTIONS: &[Row] = &[
    ("format.dns1123Label", |_| Ok(named(0)), CONSTANT),
    ("format.dns1123Subdomain", |_| Ok(named(1)), CONSTANT),
    ("format.dns1035Label", |_| Ok(named(2)), CONSTANT),
    ("format.qualifiedName", |_| Ok(named(3)), CONSTANT),
    ("format.dns1123LabelPrefix", |_| Ok(named(4)), CONSTANT),
    ("format.dns1123SubdomainPrefix", |_| Ok(named(5)), CONSTANT),
    ("format.dns1035LabelPrefix", |_| Ok(named(6)), CONSTANT),
    ("format.labelValue", |_| Ok(named(7)), CONSTANT),
    ("format.uri", |_| Ok(named(8)), CONSTANT),
    ("format.uuid", |_| Ok(named(9)), CONSTANT),
    ("format.byte", |_| Ok(named(10)), CONSTANT),
    ("format.date", |_| Ok(named(11)), CONSTANT),
    ("format.datetime", |_| Ok(named(12)), CONSTANT),
    ("format.named", by_name, &["(string) optional(kubernetes.NamedFormat)"]),
    ("validate", validate, &["kubernetes.NamedFormat.(string) optional(list(string))"]),
];
const CONSTANT: &[&str] = &["() kubernetes.NamedFormat"];

fn named<'a>(i: usize) -> Val<'a> {
    Val::Extension(Extension::Format(&FORMATS[i]))
}

fn by_name<'a>(args: &[Val<'a>]) -> Answer<'a> {
    let name = one(args)?;
    Ok(FORMATS.iter().position(|f| f.name == name).map_or(Val::Optional(None), |i| Val::some(named(i))))
}

fn validate<'a>(args: &[Val<'a>]) -> Answer<'a> {
    let Val::Extension(Extension::Format(format)) = &args[0] else { return Err(EvalError::no_such_overload()) };
    let wrong = (format.validate)(nth(args, 1)?);
    Ok(if wrong.is_empty() { Val::Optional(None) } else { Val::some(Val::strings(wrong)) })
}

fn unless(ok: bool, message: &str) -> Vec<String> {
    if ok { Vec::new() } else { vec![message.to_string()] }
}

fn uuid(s: &str) -> bool {
    let hex: Vec<&str> = s.split('-').collect();
    let whole = hex.len() == 1 && s.len() == 32;
    let parts = hex.iter().map(|p| p.len()).eq([8, 4, 4, 4, 12]);
    (whole || parts) && hex.iter().all(|p| p.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn byte(s: &str) -> bool {
    use base64::Engine;
    !s.is_empty() && base64::engine::general_purpose::STANDARD.decode(s).is_ok()
}

fn date(s: &str) -> bool {
    s.len() == 10 && s.parse::<jiff::civil::Date>().is_ok()
}
