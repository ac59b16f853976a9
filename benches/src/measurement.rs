//! A limit and a figure from the same minute, and the line of the table that they make.

use std::fmt;
use std::io;

use crate::goals::Goal;

/// What was measured for one goal.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// The goal.
    pub goal: &'static Goal,
    /// Which variant of it, such as the level; empty where there is one only.
    pub variant: &'static str,
    /// The machine's value.
    pub limit: f64,
    /// Plimsoll's value; `Err` says why there is none.
    pub plimsoll: Result<f64, String>,
    /// The unit of both.
    pub unit: &'static str,
}

impl Measurement {
    /// Heads of the columns, as wide as the lines of the table.
    pub fn heading() -> String {
        format!(
            "{:<8}{:<12}{:>12}{:>12}  {:<8}{:>7}  {:<18}{:<8}what",
            "goal", "variant", "limit", "plimsoll", "unit", "ratio", "wanted", "met"
        )
    }
}

impl fmt::Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Goal { name, what, wanted, .. } = self.goal;
        write!(f, "{name:<8}{:<12}{:>12}", self.variant, figure(self.limit))?;
        let wanted = wanted.to_string();
        match &self.plimsoll {
            Ok(plimsoll) => {
                let met =
                    if self.goal.wanted.is_met(self.limit, *plimsoll) { "met" } else { "NOT" };
                let ratio = plimsoll / self.limit;
                let ratio = if ratio.is_finite() { format!("{ratio:.2}") } else { "-".to_owned() };
                let plimsoll = figure(*plimsoll);
                write!(f, "{plimsoll:>12}  {:<8}{ratio:>7}  {wanted:<18}{met:<8}{what}", self.unit)
            }
            Err(why) => {
                write!(f, "{:>12}  {:<8}{:>7}  {wanted:<18}{:<8}{what}", "-", self.unit, "-", "-")?;
                write!(f, " (no figure: {why})")
            }
        }
    }
}

/// Three or four digits that count.
fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// Takes both values in turns, `rounds` times, and returns the two medians. After the first round
/// in which Plimsoll has no figure, only the limit is measured.
///
/// # Errors
///
/// When the limit cannot be measured.
pub fn interleave(
    rounds: usize,
    mut limit: impl FnMut() -> io::Result<f64>,
    mut plimsoll: impl FnMut() -> Result<f64, String>,
) -> io::Result<(f64, Result<f64, String>)> {
    let (mut limits, mut figures, mut missing) = (Vec::new(), Vec::new(), None);
    for _ in 0..rounds {
        limits.push(limit()?);
        if missing.is_none() {
            match plimsoll() {
                Ok(value) => figures.push(value),
                Err(why) => missing = Some(why),
            }
        }
    }
    Ok((median(&mut limits), missing.map_or_else(|| Ok(median(&mut figures)), Err)))
}

/// The median; not a number where there are none. The order of `values` is lost.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::goals::goal;
    use std::cell::RefCell;

    #[test]
    fn both_sides_are_measured_in_turns_and_give_their_medians() {
        let order = RefCell::new(String::new());
        let (mut limits, mut figures) =
            ([3.0, 1.0, 2.0].into_iter(), [30.0, 10.0, 20.0].into_iter());
        let result = interleave(
            3,
            || {
                order.borrow_mut().push('l');
                Ok(limits.next().unwrap())
            },
            || {
                order.borrow_mut().push('p');
                Ok(figures.next().unwrap())
            },
        );
        assert_eq!(result.unwrap(), (2.0, Ok(20.0)));
        assert_eq!(order.into_inner(), "lplplp");
    }

    #[test]
    fn without_a_server_the_limit_is_still_measured() {
        let (limit, plimsoll) = interleave(3, || Ok(1.0), || Err("not built".to_owned())).unwrap();
        assert_eq!((limit, plimsoll), (1.0, Err("not built".to_owned())));
    }

    #[test]
    fn a_line_of_the_table_says_the_ratio_and_whether_the_goal_is_met() {
        let line = |plimsoll| {
            let goal = goal("L1").unwrap();
            let measurement =
                Measurement { goal, variant: "", limit: 2000.0, plimsoll, unit: "MB/s" };
            measurement.to_string()
        };
        assert!(line(Ok(1800.0)).contains("0.90") && line(Ok(1800.0)).contains(" met "));
        assert!(line(Ok(1000.0)).contains("0.50") && line(Ok(1000.0)).contains("NOT"));
        assert!(!line(Ok(f64::NAN)).contains(" met "));
        assert!(line(Err("not built".to_owned())).contains("not built"));
    }
}
