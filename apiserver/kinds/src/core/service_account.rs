//! ServiceAccount: its schema says all but the columns.

use crate::print::{self, AGE, NAME, cells};
use crate::rules::Rules;
use crate::strategy::Column;

static COLUMNS: [Column; 2] = [NAME, AGE];

pub static SERVICE_ACCOUNT: Rules =
    Rules { columns: &COLUMNS, cells: |obj, now| cells([print::name(obj), print::age(obj, now)]), ..Rules::BASE };
