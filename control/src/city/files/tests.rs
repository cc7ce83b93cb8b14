use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

const LONDON: &str = "country = \"44\"\nnumbers = [\n  \"+442079460001\",\n  \"+442079460002\",\n]\n";

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn city(name: &str) -> City {
    City::new(name).unwrap()
}

/// The error of one file, without the folder's own name.
fn error(text: &[u8]) -> String {
    let folder = folder(&[("good.toml", LONDON)]);
    fs::write(folder.path().join("london.toml"), text).unwrap();
    let found = read(folder.path());
    assert!(found.cities[&city("good")].is_ok(), "a bad file is bad for its own city alone");
    let error = found.cities[&city("london")].as_ref().unwrap_err().to_string();
    error.strip_prefix(&format!("{}/", folder.path().display())).unwrap().to_owned()
}

#[test]
fn every_city_file_gives_its_city_and_nothing_else_does() {
    let folder = folder(&[
        ("london.toml", LONDON),
        ("paris.toml", "country = \"33\"\nnumbers = []"),
        ("notes.txt", "+447700900001"),
        ("rome.toml~", "junk"),
        (".#london.toml", "junk"),
        ("Milano.toml", LONDON),
        ("+447700900001.toml", LONDON),
    ]);
    let found = read(folder.path());
    assert_eq!(found.cities.keys().map(City::as_str).collect::<Vec<_>>(), ["london", "paris"]);
    let london = found.cities[&city("london")].as_ref().unwrap();
    assert_eq!((london.active().count(), london.grace), (2, 86_400));
    let problems: Vec<_> = found.problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 2);
    assert!(problems[0].contains("/+….toml: a city name must be"), "{problems:?}");
    assert!(problems[1].contains("/Milano.toml: a city name must be"), "{problems:?}");
    assert!(problems[1].ends_with("rename the file"));
}

#[test]
fn a_folder_that_is_not_there_is_empty_and_one_that_is_none_is_a_problem() {
    let folder = folder(&[("file", "")]);
    assert_eq!(read(&folder.path().join("missing")), Found::default());
    let found = read(&folder.path().join("file"));
    assert!(found.cities.is_empty() && found.problems[0].to_string().contains("cannot be read"));
}

#[test]
fn errors_name_file_and_line_and_repeat_no_number() {
    let with = |line: &str| error(format!("{LONDON}{line}\n").as_bytes());
    for (line, says) in [
        (
            "grace = \"+447700900001\"",
            "london.toml:6: invalid type: string \"+…\", expected u32: correct the line",
        ),
        ("\"+447700900001\" = 1", "london.toml:6: unknown field `+…`, expected one of `country`, `numbers`"),
        ("draining = [\n\n 447700900001]", "london.toml:8: invalid type: integer `…`, expected a string"),
        ("reserved = [\"+447700900001x\"]", "london.toml:6: a number must be + and 7 to 15 digits"),
        ("grace = = 1", "london.toml:6: "),
        ("\n[answers.bocked]", "london.toml:7: unknown variant `bocked`"),
        (
            "reserved = [\"+442079460001\"]",
            "london.toml:6: +442079460001 is in two lists, numbers and reserved",
        ),
        ("reserved = [\"+331234567\"]", "london.toml:6: +331234567 does not begin with the country code +44"),
        ("grace = 1\ncooling=9999999", "london.toml:7: cooling must be from 0 to 2592000 seconds"),
        ("trip_pace = { most = 0, seconds = 9 }", "london.toml:6: trip_pace.most must be 1 or more"),
        ("[answers.limit]\n sip_code = 200", "london.toml:6: answers.limit.sip_code must be from 400 to 699"),
        ("answers.limit.sip_code = 200", "london.toml:6: answers.limit.sip_code must be from 400 to 699"),
        ("neighbours = [\"a\", \"a\"]", "london.toml:6: neighbours names a twice"),
        ("consent_prompt = \"/etc/x\"", "london.toml:6: consent_prompt must be 1 to 64 characters"),
    ] {
        let error = with(line);
        assert!(error.starts_with(says), "{error}\n{says}");
        assert!(!error.contains("7700900001"), "{error}");
    }
    assert_eq!(
        error(b"country = \"44\"\n# caf\xe9\nnumbers = []"),
        "london.toml:2: is not UTF-8: save it as UTF-8 text"
    );
    let large = format!("{LONDON}#{}", "x".repeat(4 << 20));
    assert!(error(large.as_bytes()).starts_with("london.toml: is larger than 4 MiB"));
}

#[test]
fn what_is_no_readable_file_is_an_error_of_its_city() {
    let folder = folder(&[]);
    fs::create_dir(folder.path().join("london.toml")).unwrap();
    symlink("nowhere", folder.path().join("paris.toml")).unwrap();
    let found = read(folder.path());
    let error = |name| found.cities[&city(name)].as_ref().unwrap_err().to_string();
    assert!(error("london").ends_with("london.toml: is no file: a city is a plain file"));
    assert!(error("paris").contains("paris.toml: cannot be read (No such file"));
}

#[test]
fn a_watch_gives_what_changed_once_it_is_at_rest() {
    let folder = folder(&[("london.toml", LONDON), ("paris.toml", "country = 33"), ("X.toml", "")]);
    let path = |name: &str| folder.path().join(name);
    let mut watch = Watch::new(folder.path());
    let first = watch.look();
    assert_eq!((first.cities.len(), first.problems.len()), (2, 1));
    assert_eq!(watch.look(), Found::default(), "nothing changed, and what is wrong is told once");

    fs::write(path("london.toml"), format!("{LONDON}grace = 5")).unwrap();
    fs::write(path("rome.toml"), "country = \"39\"\nnumbers = []").unwrap();
    assert_eq!(watch.look(), Found::default(), "it may still be in the writing");
    fs::write(path("london.toml"), format!("{LONDON}grace = 55")).unwrap();
    let next = watch.look();
    assert_eq!(next.cities.keys().map(City::as_str).collect::<Vec<_>>(), ["rome"]);
    assert_eq!(watch.look().cities[&city("london")].as_ref().unwrap().grace, 55);
    assert_eq!(watch.look(), Found::default());

    // The same length, and the time kept: another file all the same.
    fs::write(path("london.new"), format!("{LONDON}grace = 66")).unwrap();
    let before = fs::metadata(path("london.toml")).unwrap().modified().unwrap();
    fs::File::open(path("london.new")).unwrap().set_modified(before).unwrap();
    fs::rename(path("london.new"), path("london.toml")).unwrap();
    watch.look();
    assert_eq!(watch.look().cities[&city("london")].as_ref().unwrap().grace, 66);

    fs::remove_file(path("paris.toml")).unwrap();
    fs::remove_file(path("X.toml")).unwrap();
    assert_eq!(watch.look(), Found { gone: vec![city("paris")], ..Found::default() });
    fs::write(path("X.toml"), "").unwrap();
    assert_eq!(watch.look().problems.len(), 1, "a problem that came back is told again");
}

#[test]
fn what_could_not_be_read_is_tried_again_and_a_lost_folder_takes_no_city_along() {
    let folder = folder(&[]);
    let cities = folder.path().join("cities");
    let mut watch = Watch::new(&cities);
    assert_eq!(watch.look(), Found::default());
    fs::create_dir(&cities).unwrap();
    symlink("elsewhere", cities.join("london.toml")).unwrap();
    assert!(watch.look().cities[&city("london")].is_err());
    assert_eq!(watch.look(), Found::default(), "told once");
    fs::write(cities.join("elsewhere"), LONDON).unwrap();
    watch.look();
    assert!(watch.look().cities[&city("london")].is_ok());

    // A folder that cannot be listed says nothing of its files.
    fs::rename(&cities, folder.path().join("aside")).unwrap();
    fs::write(&cities, "").unwrap();
    let lost = watch.look();
    assert_eq!((lost.gone.len(), lost.problems.len()), (0, 1));
    assert_eq!(watch.look(), Found::default());
    fs::remove_file(&cities).unwrap();
    fs::rename(folder.path().join("aside"), &cities).unwrap();
    assert_eq!(watch.look(), Found::default(), "it is as it was");
}
