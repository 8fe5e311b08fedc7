//! What the kernel tells of a process: `/proc/PID/stat` and `/proc/PID/status`.

use std::io;
use std::path::Path;
use std::str::FromStr;

use super::files;

/// `/proc/PID/stat`: `proc_pid_stat(5)`.
#[derive(Clone, Debug)]
pub struct Stat {
    /// The program's name; what is not UTF-8 in it was replaced.
    pub name: String,
    /// From the third field on.
    fields: String,
}

impl Stat {
    /// Of a process; `None`: of this one.
    pub fn of(pid: Option<i32>) -> io::Result<Self> {
        Self::parse(&read(pid, "stat")?).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        // The name, in parentheses, can have any characters in it.
        let (start, fields) = text.rsplit_once(')')?;
        let (_, name) = start.split_once('(')?;
        let (name, fields) = (name.to_owned(), fields.to_owned());
        Some(Self { name, fields })
    }

    /// A field by its number, from 3 on. `None`: it is not there, or of another form.
    pub fn field<T: FromStr>(&self, number: usize) -> Option<T> {
        let mut fields = self.fields.split_ascii_whitespace();
        fields.nth(number.checked_sub(3)?)?.parse().ok()
    }
}

/// The numbers in a field of `/proc/PID/status` (`proc_pid_status(5)`) of a process; `None`: of this one. Words that are no
/// numbers are left out; without the field there are none.
pub fn numbers(pid: Option<i32>, field: &str) -> io::Result<Vec<u32>> {
    Ok(numbers_in(&read(pid, "status")?, field))
}

pub(crate) fn numbers_in(status: &str, field: &str) -> Vec<u32> {
    let mut lines = status.lines();
    let value = lines.find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let words = value.unwrap_or_default().split_ascii_whitespace();
    words.filter_map(|word| word.parse().ok()).collect()
}

fn read(pid: Option<i32>, file: &str) -> io::Result<String> {
    let of = pid.map_or_else(|| "self".into(), |pid| pid.to_string());
    let text = files::read_file(Path::new(&format!("/proc/{of}/{file}")))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_told_from_the_fields_behind_it() {
        let stat = Stat::parse("41 (a) S 7 (b) R 5 -1 18446744073709551615\n").unwrap();
        assert_eq!(stat.name, "a) S 7 (b");
        assert_eq!(stat.field::<char>(3), Some('R'));
        assert_eq!(stat.field::<u32>(4), Some(5));
        assert_eq!(stat.field::<i32>(5), Some(-1));
        assert_eq!(stat.field::<u64>(6), Some(u64::MAX));
        assert_eq!(stat.field::<u64>(5), None);
        assert_eq!(stat.field::<u64>(7), None);
        assert_eq!(stat.field::<u64>(2), None);
        assert!(Stat::parse("41").is_none());
    }

    #[test]
    fn a_field_is_its_numbers_whatever_else_the_text_has() {
        // A name's line break is escaped by the kernel, so that no line begins with it.
        let status = "Name:\tNSpid:\t9\nNSpidx:\t8\nNSpid:\t417\t1\nUid:\t0\t0\t0\t0\nState:\tS (sleeping)\n";
        assert_eq!(numbers_in(status, "NSpid"), [417, 1]);
        assert_eq!(numbers_in(status, "Uid"), [0; 4]);
        assert!(numbers_in(status, "State").is_empty());
        assert!(numbers_in(status, "PPid").is_empty());
    }

    #[test]
    fn this_process_is_told_from_others() {
        let own = numbers(None, "Pid").unwrap();
        assert_eq!(own, [std::process::id()]);
        let parent = numbers(None, "PPid").unwrap();
        assert_eq!(
            Stat::of(Some(own[0] as i32)).unwrap().field(4),
            Some(parent[0])
        );
        // No pid is as high.
        assert!(Stat::of(Some(i32::MAX)).is_err());
    }
}
