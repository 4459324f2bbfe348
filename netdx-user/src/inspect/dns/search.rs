//! Which full names a resolver tries for a name that a person typed. Owns: the search list and `ndots`.
//! Must not know: how a query is sent. Pure.
//!
//! As glibc does it (`__res_context_search`, resolv/res_query.c, glibc 2.36): a name that ends in a dot is tried as it is
//! and nothing else; one with at least `ndots` dots is tried as it is first, then with each search domain; any other
//! with each search domain first, then as it is.

/// Candidates in the order a resolver tries them, each with its final dot.
#[must_use]
pub fn candidates(name: &str, search: &[String], ndots: u32) -> Vec<String> {
    let Some(relative) = name.strip_suffix('.') else {
        let dots = u32::try_from(name.matches('.').count()).unwrap_or(u32::MAX);
        let expanded = search
            .iter()
            .map(|domain| domain.trim_matches('.'))
            .map(|domain| if domain.is_empty() { format!("{name}.") } else { format!("{name}.{domain}.") });
        let whole = format!("{name}.");
        let mut all: Vec<String> = if dots >= ndots {
            std::iter::once(whole).chain(expanded).collect()
        } else {
            expanded.chain(std::iter::once(whole)).collect()
        };
        let mut seen = std::collections::BTreeSet::new();
        all.retain(|candidate| seen.insert(candidate.to_ascii_lowercase()));
        return all;
    };
    vec![format!("{relative}.")]
}

#[cfg(test)]
mod tests {
    use super::candidates;

    fn list(name: &str, search: &[&str], ndots: u32) -> Vec<String> {
        candidates(name, &search.iter().map(ToString::to_string).collect::<Vec<_>>(), ndots)
    }

    #[test]
    fn a_name_with_enough_dots_is_tried_as_it_is_first() {
        assert_eq!(list("db.internal", &["lab.example"], 1), ["db.internal.", "db.internal.lab.example."]);
    }

    #[test]
    fn a_name_with_too_few_dots_is_tried_as_it_is_last() {
        assert_eq!(list("db", &["a.example", "b.example."], 1), ["db.a.example.", "db.b.example.", "db."]);
        assert_eq!(list("db.internal", &["svc.local"], 5), ["db.internal.svc.local.", "db.internal."]);
    }

    #[test]
    fn a_final_dot_turns_the_search_list_off() {
        assert_eq!(list("db.internal.", &["lab.example"], 1), ["db.internal."]);
    }

    #[test]
    fn a_domain_given_twice_or_the_root_is_tried_once() {
        assert_eq!(list("db", &["a.example", "A.example", "."], 1), ["db.a.example.", "db."]);
    }
}
