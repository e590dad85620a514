//! Local time, for people: the C library knows the time zone.

use std::fmt;

const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A second of the calendar in this machine's time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    /// The year, as in 2026.
    pub year: i32,
    /// From 0 for January.
    pub month: u8,
    /// From 1.
    pub day: u8,
    /// From 0 for Sunday.
    pub weekday: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 60.
    pub second: u8,
}

impl LocalTime {
    /// The time `unix_s` seconds after 1970 began in UTC.
    pub fn at(unix_s: i64) -> Self {
        let time = unix_s as libc::time_t;
        // SAFETY: all-zero bytes are a valid `tm`.
        let mut tm: libc::tm = unsafe { std::mem::zeroed() };
        // SAFETY: both pointers are to live values; a time that has no year leaves the zeros.
        unsafe { libc::localtime_r(&raw const time, &raw mut tm) };
        Self {
            year: tm.tm_year.saturating_add(1900),
            month: tm.tm_mon as u8,
            day: tm.tm_mday as u8,
            weekday: tm.tm_wday as u8,
            hour: tm.tm_hour as u8,
            minute: tm.tm_min as u8,
            second: tm.tm_sec as u8,
        }
    }
}

/// As ctime(3): "Wed Nov 25 03:39:43 2026".
impl fmt::Display for LocalTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |names: &[&'static str], at: u8| names.get(usize::from(at)).copied().unwrap_or("???");
        let Self { year, month, day, weekday, hour, minute, second } = *self;
        let (weekday, month) = (name(&DAYS, weekday), name(&MONTHS, month));
        write!(f, "{weekday} {month} {day:>2} {hour:02}:{minute:02}:{second:02} {year}")
    }
}

#[cfg(test)]
mod tests {
    use super::LocalTime;

    #[test]
    fn a_time_is_written_as_date_writes_it() {
        for unix_s in [0, 1_795_578_270, 951_782_400] {
            let mut date = std::process::Command::new("date");
            let date = date.args(["-d", &format!("@{unix_s}"), "+%a %b %e %H:%M:%S %Y"]).env("LC_ALL", "C").output();
            let date = date.expect("every system has date");
            assert_eq!(LocalTime::at(unix_s).to_string(), String::from_utf8_lossy(&date.stdout).trim_end());
        }
    }
}
