//! `[recovery]`: from the table to a rule that can be carried out.

use super::{ManifestError, document::RecoveryTable};
use crate::recovery::{
    RecoveryRule,
    sharing::{MAXIMUM_RECIPIENTS, RecoveryRecipient},
};

pub(super) fn rule(table: RecoveryTable) -> Result<RecoveryRule, ManifestError> {
    let wrong = |reason: String| ManifestError::Recovery { reason };
    let RecoveryTable { threshold, recipients: texts, unrecoverable } = table;
    if unrecoverable {
        return match (threshold, texts.is_empty()) {
            (None, true) => Ok(RecoveryRule::Unrecoverable),
            _ => Err(wrong(
                "`unrecoverable = true` stands beside recipients or a threshold; keep one of them".into(),
            )),
        };
    }
    let mut recipients: Vec<RecoveryRecipient> = Vec::with_capacity(texts.len().min(MAXIMUM_RECIPIENTS));
    if texts.is_empty() || texts.len() > MAXIMUM_RECIPIENTS {
        let found = texts.len();
        return Err(wrong(format!("it names {found} recipients; 1 to {MAXIMUM_RECIPIENTS} are allowed")));
    }
    for text in texts {
        let recipient: RecoveryRecipient = text.parse().map_err(|error| wrong(format!("{error}")))?;
        // One person with two shares would count as two.
        if recipients.contains(&recipient) {
            return Err(wrong(format!("{recipient} stands there twice")));
        }
        recipients.push(recipient);
    }
    match threshold {
        Some(threshold) if (1..=recipients.len()).contains(&usize::from(threshold)) => {
            Ok(RecoveryRule::Shares { threshold, recipients })
        }
        found => {
            let found = found.map_or("missing".to_owned(), |found| found.to_string());
            let count = recipients.len();
            Err(wrong(format!("its threshold is {found}; with {count} recipient(s) it must be 1 to {count}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recovery::sharing::RecoveryIdentity;

    #[test]
    fn shares_or_none_and_nothing_in_between() {
        let text = || RecoveryIdentity::generate().recipient().to_string();
        let (a, b) = (text(), text());
        let good = RecoveryTable::shares(2, [&a, &b]);
        let Ok(RecoveryRule::Shares { threshold: 2, recipients }) = rule(good.clone()) else { panic!() };
        assert_eq!(recipients.iter().map(ToString::to_string).collect::<Vec<_>>(), [a.clone(), b.clone()]);
        assert_eq!(rule(RecoveryTable::unrecoverable()), Ok(RecoveryRule::Unrecoverable));
        let many = (0..=MAXIMUM_RECIPIENTS).map(|_| text());
        for bad in [
            RecoveryTable::default(),
            RecoveryTable { unrecoverable: true, ..good.clone() },
            RecoveryTable { threshold: None, ..good.clone() },
            RecoveryTable::shares(0, [&a, &b]),
            RecoveryTable::shares(3, [&a, &b]),
            RecoveryTable::shares(1, [&a, &a]),
            RecoveryTable::shares(1, ["age1nobody"]),
            RecoveryTable::shares(1, many),
            RecoveryTable { threshold: Some(1), ..RecoveryTable::unrecoverable() },
        ] {
            assert_eq!(rule(bad.clone()).unwrap_err().code(), "manifest-recovery", "{bad:?}");
        }
    }
}
