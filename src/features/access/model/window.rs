//! A time of day on some weekdays, in UTC or at a fixed distance from it.

use serde_json::{Map, Value, json};

use crate::kernel::{FieldError, Millis};

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const MINUTES: i64 = 1440;

/// From `from` (included) to `to` (not), on some weekdays. When `to` is not after `from` the window reaches over
/// midnight; the weekday is always that of the moment itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayWindow {
    from: i64,
    to: i64,
    days: Vec<usize>,
    offset: i64,
}

/// Weekday (0 is Monday) and minute of the day, `offset` minutes from UTC.
pub(in crate::features::access) fn local(at: Millis, offset: i64) -> (i64, i64) {
    let minutes = at.0.div_euclid(60_000).saturating_add(offset);
    // The first of January 1970 was a Thursday.
    ((minutes.div_euclid(MINUTES) + 3).rem_euclid(7), minutes.rem_euclid(MINUTES))
}

impl DayWindow {
    /// Whether a moment is in it.
    pub fn contains(&self, at: Millis) -> bool {
        let (day, minute) = local(at, self.offset);
        let in_day = if self.from < self.to {
            (self.from..self.to).contains(&minute)
        } else {
            minute >= self.from || minute < self.to
        };
        in_day && self.days.iter().any(|one| i64::try_from(*one) == Ok(day))
    }

    pub(super) fn parse(value: &Value, at: &str) -> Result<Self, FieldError> {
        let object = value.as_object().ok_or_else(|| FieldError::new(at, "must be an object"))?;
        let known = ["from", "to", "weekdays", "offset_minutes"];
        if let Some(other) = object.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(FieldError::new(at, format!("has {other:?}; there are {}", known.join(", "))));
        }
        let (from, to) = (read_time(object, "from", at)?, read_time(object, "to", at)?);
        if from == to {
            return Err(FieldError::new(
                format!("{at}/to"),
                "must differ from `from`; 00:00 to 24:00 is a day",
            ));
        }
        let offset = match object.get("offset_minutes") {
            None => Some(0),
            Some(value) => value.as_i64().filter(|minutes| (-840..=840).contains(minutes)),
        };
        let wrong =
            || FieldError::new(format!("{at}/offset_minutes"), "must be a whole number from -840 to 840");
        let offset = offset.ok_or_else(wrong)?;
        Ok(Self { from, to, days: read_days(object.get("weekdays"), at)?, offset })
    }

    pub(super) fn to_value(&self) -> Value {
        let time = |minutes: i64| format!("{:02}:{:02}", minutes / 60, minutes % 60);
        let days: Vec<_> = self.days.iter().filter_map(|day| DAYS.get(*day)).collect();
        json!({ "from": time(self.from), "to": time(self.to), "weekdays": days, "offset_minutes": self.offset })
    }
}

fn read_time(object: &Map<String, Value>, name: &str, at: &str) -> Result<i64, FieldError> {
    let minutes = object.get(name).and_then(Value::as_str).and_then(minutes_of);
    let fits = minutes.filter(|minutes| *minutes < MINUTES || (*minutes == MINUTES && name == "to"));
    fits.ok_or_else(|| FieldError::new(format!("{at}/{name}"), "must be a time of day such as 07:30"))
}

fn minutes_of(text: &str) -> Option<i64> {
    let (hours, minutes) = text.split_once(':')?;
    let digits = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    let two = |part: &str| digits(part).then(|| part.parse::<i64>().ok()).flatten();
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    (hours <= 24 && minutes < 60 && hours * 60 + minutes <= MINUTES).then_some(hours * 60 + minutes)
}

fn read_days(value: Option<&Value>, at: &str) -> Result<Vec<usize>, FieldError> {
    let here = format!("{at}/weekdays");
    let wrong = || FieldError::new(here.clone(), format!("must be a list of {}", DAYS.join(", ")));
    let Some(value) = value else { return Ok((0..DAYS.len()).collect()) };
    let items = value.as_array().filter(|items| (1..=7).contains(&items.len())).ok_or_else(wrong)?;
    let number = |item: &Value| {
        item.as_str().and_then(|name| DAYS.iter().position(|day| *day == name)).ok_or_else(wrong)
    };
    let mut days = items.iter().map(number).collect::<Result<Vec<_>, _>>()?;
    days.sort_unstable();
    days.dedup();
    Ok(days)
}
