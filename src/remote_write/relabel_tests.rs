//! Each action of relabelling, case by case.

use super::*;

/// `a=1 b=2` as labels.
fn labels(text: &str) -> Vec<(String, String)> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').expect("name=value");
        (name.to_owned(), value.to_owned())
    };
    text.split_whitespace().map(pair).collect()
}

fn run(steps: &[RelabelConfig], before: &str) -> String {
    let mut set = labels(before);
    if !apply(steps, &mut set) {
        return "dropped".to_owned();
    }
    let pairs: Vec<String> = set.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join(" ")
}

/// `source,source regex target replacement`; `-` is the default.
fn config(action: Action, text: &str) -> RelabelConfig {
    let mut config = RelabelConfig::new(action);
    for (idx, word) in text.split_whitespace().enumerate().filter(|(_, word)| *word != "-") {
        match idx {
            0 => config.source_labels = word.split(',').map(str::to_owned).collect(),
            1 => config.regex = compile_regex(word).expect("the test's pattern is valid"),
            2 => config.target_label = word.to_owned(),
            _ => config.replacement = if word == "''" { String::new() } else { word.to_owned() },
        }
    }
    config
}

fn check(action: Action, cases: &[(&str, &str, &str)]) {
    for (step, before, after) in cases {
        assert_eq!(run(&[config(action, step)], before), *after, "{action:?} {step} on {before}");
    }
}

#[test]
fn keep_and_drop_look_at_the_joined_values() {
    check(
        Action::Keep,
        &[
            ("service shop", "service=shop x=1", "service=shop x=1"),
            ("service shop", "service=workshop", "dropped"),
            ("service shop", "service=shops", "dropped"),
            ("service,kind shop;.+", "kind=server service=shop", "kind=server service=shop"),
            ("service,kind shop;.+", "service=shop", "dropped"),
            ("none -", "service=shop", "service=shop"),
        ],
    );
    check(
        Action::Drop,
        &[
            ("service shop|cart", "service=cart", "dropped"),
            ("service shop|cart", "service=cartoon", "service=cartoon"),
            ("none -", "service=shop", "dropped"),
            ("none .+", "service=shop", "service=shop"),
        ],
    );
}

#[test]
fn a_dot_matches_line_ends() {
    let drop = config(Action::Drop, "a x.*y");
    let mut set = vec![("a".to_owned(), "x\ny".to_owned())];
    assert!(!apply(&[drop], &mut set));
}

#[test]
fn keepequal_and_dropequal_compare_with_the_target() {
    check(
        Action::KeepEqual,
        &[
            ("a - b", "a=1 b=1", "a=1 b=1"),
            ("a - b", "a=1 b=2", "dropped"),
            ("a - b", "x=1", "x=1"),
            ("a,c - b", "a=1 b=1;2 c=2", "a=1 b=1;2 c=2"),
        ],
    );
    check(
        Action::DropEqual,
        &[
            ("a - b", "a=1 b=1", "dropped"),
            ("a - b", "a=1 b=2", "a=1 b=2"),
            ("a - b", "x=1", "dropped"),
        ],
    );
}

#[test]
fn replace_sets_renames_and_deletes() {
    check(
        Action::Replace,
        &[
            ("a - b", "a=1", "a=1 b=1"),
            ("a - b", "a=1 b=2", "a=1 b=1"),
            ("a x b", "a=1 b=2", "a=1 b=2"),
            ("a - b", "b=2 c=3", "c=3"),
            ("none - b ''", "b=2 c=3", "c=3"),
            ("none - b fixed", "c=3", "b=fixed c=3"),
            ("a,c - b", "a=1 c=3", "a=1 b=1;3 c=3"),
            ("a (.)(.) b ${2}$1", "a=xy", "a=xy b=yx"),
            ("a (.)(.) b $2_$1", "a=xy", "a=xy b=x"),
            ("a (?P<first>.). b ${first}-$first", "a=xy", "a=xy b=x-x"),
            ("a (.). b $1x", "a=xy", "a=xy"),
            ("a (.). b ${1}x", "a=xy", "a=xy b=xx"),
            ("a .. b $0", "a=xy", "a=xy b=xy"),
            ("a .. b $7", "a=xy b=1", "a=xy"),
            ("a .. b $$1", "a=xy", "a=xy b=$1"),
            ("a .. b ${1", "a=xy", "a=xy b=${1"),
            ("a .. b ${}", "a=xy", "a=xy b=${}"),
            ("a .. b 5$", "a=xy", "a=xy b=5$"),
            ("a (x)|(y) b [$1$2]", "a=y", "a=y b=[y]"),
            // A reference takes letters of any script, as far as they go.
            ("a (.). b $1\u{e9}", "a=xy", "a=xy"),
        ],
    );
}

#[test]
fn the_target_of_replace_is_a_template_too() {
    check(
        Action::Replace,
        &[
            ("a (.*):(.*) by_$1 $2", "a=k:v", "a=k:v by_k=v"),
            ("a (.*):(.*) ${1} $2", "a=k:v", "a=k:v k=v"),
            ("a (.*):(.*) ${1} $2", "a=k: k=1", "a=k:"),
            ("a (.*):(.*) ${1} $2", "a=4k:v", "a=4k:v"),
            ("a (.*):(.*) ${1} $2", "a=k-k:v", "a=k-k:v"),
            ("a (.*):(.*) ${1} $2", "a=:v", "a=:v"),
        ],
    );
}

#[test]
fn hashmod_takes_the_last_half_of_the_md5() {
    let mut step = config(Action::HashMod, "a,b - shard");
    for (modulus, before, after) in [
        // From md5("x;y") and md5(";"), computed by another implementation.
        (1000, "a=x b=y", "a=x b=y shard=238"),
        (1, "a=x b=y", "a=x b=y shard=0"),
        (u64::MAX, "c=1", "c=1 shard=4718772755342097393"),
        (0, "c=1", "c=1 shard=0"),
    ] {
        step.modulus = modulus;
        assert_eq!(run(std::slice::from_ref(&step), before), after, "{modulus}");
    }
}

#[test]
fn labelmap_copies_and_labeldrop_and_labelkeep_remove_by_name() {
    check(
        Action::LabelMap,
        &[
            ("- k8s_(.+)", "k8s_pod=p k8s_node=n x=1", "k8s_node=n k8s_pod=p node=n pod=p x=1"),
            ("- k8s_(.+) - on_$1", "k8s_pod=p", "k8s_pod=p on_pod=p"),
            ("- k8s_(.+)", "k8s_pod=p pod=old", "k8s_pod=p pod=p"),
            ("- [ab]_(.+)", "a_x=1 b_x=2", "a_x=1 b_x=2 x=2"),
            ("- (.)_x - ${1}_x_x", "a_x=1", "a_x=1 a_x_x=1"),
            ("- k8s_(.*)", "k8s_=p", "k8s_=p"),
        ],
    );
    check(
        Action::LabelDrop,
        &[
            ("- k8s_.+", "k8s_pod=p k8s_node=n x=1", "x=1"),
            ("- k8s", "k8s_pod=p", "k8s_pod=p"),
            ("- .*", "a=1", "dropped"),
        ],
    );
    check(
        Action::LabelKeep,
        &[("- a|x", "a=1 b=2 x=3", "a=1 x=3"), ("- none", "a=1 b=2", "dropped")],
    );
}

#[test]
fn of_two_copies_to_one_name_the_label_set_last_wins() {
    let steps = [config(Action::Replace, "z - a_x 9"), config(Action::LabelMap, "- [ab]_(.+)")];
    assert_eq!(run(&steps, "b_x=2"), "a_x=9 b_x=2 x=9");
    assert_eq!(run(&steps, "a_x=1 b_x=2"), "a_x=9 b_x=2 x=9");
}

#[test]
fn lowercase_and_uppercase_map_character_by_character() {
    check(
        Action::Lowercase,
        &[
            ("a - a", "a=GeT", "a=get"),
            ("a,b - c", "a=A b=B", "a=A b=B c=a;b"),
            ("a - b", "b=1 c=2", "c=2"),
            ("a - a", "a=\u{130}\u{3a3}", "a=i\u{3c3}"),
        ],
    );
    check(Action::Uppercase, &[("a - a", "a=stra\u{df}e", "a=STRA\u{df}E")]);
}

#[test]
fn steps_see_what_the_steps_before_them_did() {
    let steps = [
        config(Action::Replace, "a - tmp"),
        config(Action::Replace, "none - a ''"),
        config(Action::Keep, "tmp,a 1;"),
        config(Action::LabelDrop, "- tmp"),
    ];
    assert_eq!(run(&steps, "Z=1 __name__=m a=1"), "Z=1 __name__=m");
    assert_eq!(run(&steps, "__name__=m a=2"), "dropped");
}

#[test]
fn patterns_are_read_as_go_reads_them() {
    for (pattern, text, matches) in [
        ("a|b", "ab", false),
        ("", "", true),
        ("", "a", false),
        (r"\d+", "17", true),
        (r"\d+", "\u{661}", false),
        (r"\w+", "\u{e4}", false),
        (r"\W", "\u{e4}", true),
        (r"[\w.-]+", "a.b-c", true),
        (r"[^\d]", "\u{661}", true),
        (r"[^\d]", "1", false),
        (r"a\s", "a\u{a0}", false),
        (r".*\bb", "\u{e4}b", true),
        (r"\pL", "\u{e4}", true),
        ("(?i)SHOP", "shop", true),
        (r"\\d", r"\d", true),
        (r"a\/\_\-\:", "a/_-:", true),
        (r"\<a\>", "<a>", true),
        (r"\<a\>", "a", false),
        (r"[[:alpha:]\[]+", "a[", true),
        (r"[^\]&-]", "x", true),
    ] {
        let regex = compile_regex(pattern).expect(pattern);
        assert_eq!(regex.is_match(text), matches, "{pattern} on {text}");
    }
    for pattern in ["(", ")(", "*", r"(?<=a)b", r"\Qa\E", "[a[b]]", "[a&&b]", "[a--b]"] {
        assert!(compile_regex(pattern).is_err(), "{pattern}");
    }
}

#[test]
fn actions_are_known_by_name_in_any_case() {
    for action in Action::ALL {
        assert_eq!(Action::parse(&action.name().to_uppercase()), Some(action));
    }
    assert_eq!(Action::parse("replaces"), None);
}
