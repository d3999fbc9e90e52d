//! The parts of an image's name.

/// `HOST/PATH:TAG@DIGEST`; what a name lacks stays open.
pub struct ImageName<'a> {
    /// Host and path.
    pub repository: &'a str,
    pub tag: Option<&'a str>,
    pub digest: Option<&'a str>,
}

impl<'a> ImageName<'a> {
    /// Takes a name apart without judging the parts.
    pub fn of(image: &'a str) -> Self {
        let (name, digest) = image.split_once('@').map_or((image, None), |(n, d)| (n, Some(d)));
        // A colon before the last slash is that of a port.
        let last = name.rfind('/').map_or(0, |i| i + 1);
        match name[last..].find(':') {
            Some(colon) => Self { repository: &name[..last + colon], tag: Some(&name[last + colon + 1..]), digest },
            None => Self { repository: name, tag: None, digest },
        }
    }
}
