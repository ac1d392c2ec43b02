//! "Did you mean …?" after a misspelt name.

/// `; did you mean NAME?` with the name that is most like `wanted`; empty if no name is
/// like it.
pub(crate) fn hint<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let nearest = nearest(wanted, names.into_iter().map(|name| (name, name)));
    nearest.map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

/// What belongs to the name that is most like `wanted`.
pub(crate) fn nearest<'a, T>(
    wanted: &str,
    names: impl IntoIterator<Item = (&'a str, T)>,
) -> Option<T> {
    const LIKENESS_MIN: f64 = 0.85;
    let wanted = wanted.to_lowercase();
    names
        .into_iter()
        .map(|(name, item)| (likeness(&wanted, &name.to_lowercase()), item))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, item)| item)
}

/// From 0 to 1. Words that are missing, added or in another order count little.
fn likeness(a: &str, b: &str) -> f64 {
    let within = |a: &str, b: &str| a.split('_').all(|word| b.split('_').any(|w| w == word));
    let letters = strsim::jaro_winkler(a, b);
    if within(a, b) || within(b, a) { 0.9 + letters / 10.0 } else { letters }
}
