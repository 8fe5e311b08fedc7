//! `aegis policy diff`: what one policy decides otherwise than another.

use aegis_policy::compare::{self, Diff, Difference};
use aegis_policy::{Context, HostPath, Request, Verdict, What};

use super::asked::ContextArgs;
use super::{compiled, document};
use crate::aegis::{CommandResult, answer, one_stdin};

/// Maximum number of examples of each change, unless all are requested.
const FEW: usize = 5;

pub(super) fn diff(a: &str, b: &str, place: &ContextArgs, all: bool, json: bool) -> CommandResult {
    one_stdin([a, b])?;
    let (one, other) = (compiled(document(a)?)?, compiled(document(b)?)?);
    let contexts = match place.is_silent() {
        true => compare::contexts(),
        false => vec![place.context()?],
    };
    let diff = compare::diff(&one, &other, &contexts);
    answer(json, &diff, || text(a, b, &diff, contexts.first(), all))?;
    Ok(diff.is_empty())
}

fn text(a: &str, b: &str, diff: &Diff, usual: Option<&Context>, all: bool) -> String {
    if diff.same {
        return format!("{a} and {b} are the same policy, by their hash\n");
    }
    let mut text = String::new();
    for setting in &diff.settings {
        let value = |value: &str| if value.is_empty() { "none" } else { value }.to_owned();
        let (old, new) = (value(&setting.a), value(&setting.b));
        text += &format!("{}: {old} -> {new}\n", setting.name);
    }
    let mut rest = &*diff.differences;
    while let Some(first) = rest.first() {
        let change = |d: &Difference| (d.a.verdict, d.b.verdict);
        let same = rest.iter().take_while(|d| change(d) == change(first));
        let (group, others) = rest.split_at(same.count());
        rest = others;
        text += &format!("{}\n", title(first.a.verdict, first.b.verdict));
        let shown = if all { group.len() } else { FEW };
        for difference in group.iter().take(shown) {
            text += &of_difference(a, b, difference, usual);
        }
        if group.len() > shown {
            let more = group.len() - shown;
            text += &format!("  and {more} more of these: --all lists them\n");
        }
    }
    if diff.is_empty() {
        text += &format!("{a} and {b} decide alike: {} requests tried\n", diff.tried);
    }
    if !diff.complete {
        text += "note: these requests are not all that the policies could tell apart (rules in Rego, or too many patterns): there may be more differences\n";
    }
    text
}

fn title(a: Verdict, b: Verdict) -> String {
    let about = match (a.lets_through(), b.lets_through()) {
        (false, true) => ": let through, and was not",
        (true, false) => ": no longer let through",
        _ => "",
    };
    format!("{a} -> {b}{about}")
}

fn of_difference(a: &str, b: &str, difference: &Difference, usual: Option<&Context>) -> String {
    let said = |policy: &str, said: &aegis_policy::Opinion| {
        let rules = match &*said.rules {
            [] => String::new(),
            rules => format!(" [{}]", rules.join(", ")),
        };
        format!("    {policy}: {}{rules}\n", said.reason)
    };
    format!(
        "  {}\n{}{}",
        shown(&difference.example, usual),
        said(a, &difference.a),
        said(b, &difference.b)
    )
}

/// A request with the variables of its paths, and their values where unusual.
fn shown(request: &Request, usual: Option<&Context>) -> String {
    let context = &request.context;
    let mut what = request.what.clone();
    let mut facts = Vec::new();
    if let Some((except, path, _)) = what.place_mut() {
        for path in except.iter_mut().chain([path]) {
            *path = with_variable(path, context);
        }
        if usual.is_none_or(|usual| usual != context) {
            let skill = match &context.skill {
                Some(skill) => format!("$SKILL is {skill}"),
                None => "there is no $SKILL".to_owned(),
            };
            facts.push(format!(
                "where $HOME is {}, $WORK is {}, {skill}",
                context.home, context.work
            ));
        }
    }
    match &mut what {
        What::Net(to) => {
            facts.extend(to.address.map(|address| format!("at {address}")));
            for (name, value) in [
                ("request size", to.request_size),
                ("requests in the last minute", to.requests_last_minute),
                ("response size", to.response_size),
            ] {
                facts.extend(value.map(|value| format!("{name} {value}")));
            }
        }
        What::Secret { inject, .. } => {
            facts.extend(inject.map(|inject| format!("in the {}", inject.name())));
        }
        _ => {}
    }
    let mut text = match &what {
        What::Tool { .. } => {
            let skill = (context.skill.as_ref()).map(|skill| format!(" of {skill}"));
            let skill = skill.unwrap_or_default();
            format!("tool.exec under the profile {}{skill}", context.profile)
        }
        what => what.to_string(),
    };
    if !facts.is_empty() {
        text += &format!(" ({})", facts.join("; "));
    }
    text
}

fn with_variable(path: &HostPath, context: &Context) -> HostPath {
    let places = [
        ("$WORK", Some(&context.work)),
        ("$SKILL", context.skill.as_ref()),
        ("$HOME", Some(&context.home)),
    ];
    let inside = places.into_iter().filter_map(|(name, place)| {
        let place = place.filter(|place| place.as_bytes().len() > 1)?;
        let rest = path.as_bytes().strip_prefix(place.as_bytes())?;
        (rest.is_empty() || rest.starts_with(b"/")).then_some((name, rest))
    });
    // The innermost directory says most.
    match inside.min_by_key(|(_, rest)| rest.len()) {
        Some((name, rest)) => HostPath([name.as_bytes(), rest].concat()),
        None => path.clone(),
    }
}
