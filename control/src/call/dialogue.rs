//! Which leg a message speaks for: SIP tags, and the branches of a forked call.
//!
//! Pure; serialised into the call's blob. Tags may hold numbers: nothing here prints.

use relay::program::message::Leg;
use serde::{Deserialize, Serialize};

use crate::ng::error::NgError;

/// Most tags kept per leg, and branches per call.
const MOST: usize = 16;

/// The tags of a call's two legs.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Dialogue {
    tags: [Vec<String>; 2],
    branches: Vec<String>,
    /// The callee's tag in the dialog that a final answer made; of a forked call, the one that is spoken in.
    #[serde(default)]
    bound: Option<String>,
}

/// What of a call a delete ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All of it.
    Call,
    /// A destination of a forked call; the call goes on with another one.
    Branch,
    /// Nothing: the tags are not this call's.
    Nothing,
}

impl Dialogue {
    /// The dialogue of a first offer. The proxy puts the offering side's tag into `from`. A first offer that has
    /// a `to` as well comes from the callee: its INVITE had no SDP (RFC 3264 section 4, the late offer).
    pub fn new(from: &str, to: Option<&str>) -> (Self, Leg) {
        let mut dialogue = Self::default();
        let leg = if to.is_some() { Leg::Callee } else { Leg::Caller };
        dialogue.learn(leg, from);
        if let Some(to) = to {
            dialogue.learn(leg.other(), to);
        }
        (dialogue, leg)
    }

    /// The leg that makes a further offer. While the call is not `settled` the caller may come with a new tag,
    /// as some do when they try again.
    pub fn offers(&mut self, from: &str, to: Option<&str>, settled: bool) -> Result<Leg, NgError> {
        let leg = if let Some(leg) = self.leg(from) {
            let callee = if leg == Leg::Caller { to } else { Some(from) };
            if callee.is_some_and(|tag| self.lost(tag)) {
                return Err(NgError::Dialogue);
            }
            leg
        } else if self.lost(from) && to.is_some() {
            return Err(NgError::Dialogue);
        } else if to.is_some_and(|to| self.tags(Leg::Caller).iter().any(|t| t == to)) {
            Leg::Callee
        } else if to.is_none() && !settled {
            Leg::Caller
        } else {
            return Err(NgError::Dialogue);
        };
        self.learn(leg, from);
        Ok(leg)
    }

    /// The leg that answers: the one of `to`. The callee may come with a tag not seen before, since every
    /// destination of a forked call has its own; but when one of them has answered and no new offer is `pending`,
    /// the others are late.
    pub fn answers(&mut self, from: &str, to: &str, pending: bool) -> Result<Leg, NgError> {
        let offerer = self.leg(from).ok_or(NgError::Dialogue)?;
        if !pending && self.lost(if offerer == Leg::Caller { to } else { from }) {
            return Err(NgError::Dialogue);
        }
        match (offerer, self.leg(to)) {
            (Leg::Caller, _) => self.learn(Leg::Callee, to),
            (Leg::Callee, Some(Leg::Caller)) => {}
            (Leg::Callee, _) => return Err(NgError::Dialogue),
        }
        Ok(offerer.other())
    }

    /// A final answer between these tags, which [`Self::answers`] took.
    pub fn bind(&mut self, from: &str, to: &str) {
        let callee = if self.leg(from) == Some(Leg::Caller) { to } else { from };
        self.bound = Some(callee.to_owned());
    }

    /// What a delete with these tags ends; a branch that ends is forgotten. Most proxies send the tag of the From
    /// header alone: from the caller that means all of the call, from the callee the dialog that has this tag.
    pub fn delete(&mut self, from: Option<&str>, to: Option<&str>) -> Scope {
        let Some(from) = from else { return Scope::Call };
        let callee = match self.leg(from) {
            None => return Scope::Nothing,
            Some(Leg::Caller) => to,
            Some(Leg::Callee) => Some(from),
        };
        let Some(callee) = callee else { return Scope::Call };
        let others = || self.tags(Leg::Callee).iter().any(|tag| tag != callee);
        let all = self.bound.as_ref().map_or_else(|| !others(), |bound| bound == callee);
        if all {
            return Scope::Call;
        }
        let [_, callees] = &mut self.tags;
        callees.retain(|tag| tag != callee);
        Scope::Branch
    }

    /// Whether a callee's tag is of a dialog other than the one that a final answer made.
    fn lost(&self, tag: &str) -> bool {
        self.bound.as_ref().is_some_and(|bound| bound != tag)
    }

    /// Notes a branch that was offered to.
    pub fn branch(&mut self, branch: &str) {
        if self.branches.len() < MOST && !self.branches.iter().any(|b| b == branch) {
            self.branches.push(branch.to_owned());
        }
    }

    /// A branch ends. True when the call goes on without it: others are still open.
    pub fn ends_branch(&mut self, branch: &str) -> bool {
        let before = self.branches.len();
        if before > 1 {
            self.branches.retain(|b| b != branch);
        }
        self.branches.len() < before
    }

    /// A leg's tags, the latest last.
    pub const fn tags(&self, leg: Leg) -> &Vec<String> {
        let [caller, callee] = &self.tags;
        match leg {
            Leg::Caller => caller,
            Leg::Callee => callee,
        }
    }

    /// The leg that a tag is of.
    pub fn leg(&self, tag: &str) -> Option<Leg> {
        Leg::BOTH.into_iter().find(|leg| self.tags(*leg).iter().any(|t| t == tag))
    }

    fn learn(&mut self, leg: Leg, tag: &str) {
        let [caller, callee] = &mut self.tags;
        let tags = if leg == Leg::Caller { caller } else { callee };
        tags.retain(|t| t != tag);
        tags.push(tag.to_owned());
        if tags.len() > MOST {
            // The first one stays: the dialogue began with it.
            tags.remove(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_from_tag_tells_who_offers() {
        let (mut dialogue, first) = Dialogue::new("a", None);
        assert_eq!(first, Leg::Caller);
        assert_eq!(dialogue.answers("a", "b", true), Ok(Leg::Callee));
        assert_eq!(dialogue.offers("a", Some("b"), true), Ok(Leg::Caller));
        assert_eq!(dialogue.offers("b", Some("a"), true), Ok(Leg::Callee));
        assert_eq!(dialogue.answers("b", "a", true), Ok(Leg::Caller));
        assert_eq!(dialogue.offers("x", Some("y"), true), Err(NgError::Dialogue));
        assert_eq!(dialogue.offers("x", None, true), Err(NgError::Dialogue));
        assert_eq!(dialogue.answers("x", "b", true), Err(NgError::Dialogue));
        assert_eq!(dialogue.answers("b", "x", true), Err(NgError::Dialogue));
    }

    #[test]
    fn every_destination_of_a_fork_may_answer() {
        let (mut dialogue, _) = Dialogue::new("a", None);
        for to in ["b", "c", "b"] {
            assert_eq!(dialogue.answers("a", to, true), Ok(Leg::Callee));
        }
        assert_eq!(dialogue.offers("c", Some("a"), true), Ok(Leg::Callee));
        assert_eq!(dialogue.tags(Leg::Callee).last().unwrap(), "c");
    }

    #[test]
    fn a_first_offer_with_both_tags_is_the_callees() {
        let (mut dialogue, first) = Dialogue::new("b", Some("a"));
        assert_eq!(first, Leg::Callee);
        assert_eq!(dialogue.answers("b", "a", true), Ok(Leg::Caller));
    }

    #[test]
    fn the_caller_may_try_again_with_another_tag_until_there_is_an_answer() {
        let (mut dialogue, _) = Dialogue::new("a", None);
        assert_eq!(dialogue.offers("a2", None, false), Ok(Leg::Caller));
    }

    #[test]
    fn the_last_branch_ends_the_call() {
        let (mut dialogue, _) = Dialogue::new("a", None);
        dialogue.branch("1");
        dialogue.branch("2");
        assert!(dialogue.ends_branch("1"));
        assert!(!dialogue.ends_branch("2") && !dialogue.ends_branch("unknown"));
    }

    #[test]
    fn tags_are_bounded() {
        let (mut dialogue, _) = Dialogue::new("a", None);
        for n in 0..100 {
            dialogue.answers("a", &n.to_string(), true).unwrap();
        }
        assert_eq!(dialogue.tags(Leg::Callee).len(), MOST);
    }

    #[test]
    fn late_destinations_change_nothing_in_the_dialog_that_is_spoken_in() {
        let (mut dialogue, _) = Dialogue::new("a", None);
        for to in ["b", "c"] {
            assert_eq!(dialogue.answers("a", to, true), Ok(Leg::Callee));
        }
        dialogue.bind("a", "b");
        for late in ["c", "d"] {
            assert_eq!(dialogue.answers("a", late, false), Err(NgError::Dialogue));
            assert_eq!(dialogue.offers(late, Some("a"), true), Err(NgError::Dialogue));
            assert_eq!(dialogue.offers("a", Some(late), true), Err(NgError::Dialogue));
        }
        assert_eq!(dialogue.answers("a", "b", false), Ok(Leg::Callee), "the answer comes again");
        assert_eq!(dialogue.offers("a", Some("b"), true), Ok(Leg::Caller));
        assert_eq!(dialogue.offers("b", Some("a"), true), Ok(Leg::Callee));
        assert_eq!(dialogue.answers("b", "a", true), Ok(Leg::Caller));
        dialogue.bind("b", "a");
        assert_eq!(dialogue.answers("b", "a", false), Ok(Leg::Caller));
    }

    #[test]
    fn a_delete_ends_the_dialog_that_it_names() {
        let forked = |bound: Option<&str>| {
            let (mut dialogue, _) = Dialogue::new("a", None);
            for to in ["b", "c"] {
                dialogue.answers("a", to, true).unwrap();
            }
            bound.into_iter().for_each(|to| dialogue.bind("a", to));
            dialogue
        };
        for (bound, from, to, scope) in [
            (None, None, None, Scope::Call),
            (None, Some("a"), None, Scope::Call),
            (None, Some("a"), Some("b"), Scope::Branch),
            (None, Some("x"), Some("b"), Scope::Nothing),
            (Some("b"), Some("a"), None, Scope::Call),
            (Some("b"), Some("a"), Some("b"), Scope::Call),
            (Some("b"), Some("b"), Some("a"), Scope::Call),
            (Some("b"), Some("b"), None, Scope::Call),
            (Some("b"), Some("a"), Some("c"), Scope::Branch),
            (Some("b"), Some("c"), Some("a"), Scope::Branch),
            (Some("b"), Some("c"), None, Scope::Branch),
            (Some("b"), Some("a"), Some("never seen"), Scope::Branch),
        ] {
            assert_eq!(forked(bound).delete(from, to), scope, "{bound:?} {from:?} {to:?}");
        }
        let mut dialogue = forked(None);
        assert_eq!(dialogue.delete(Some("a"), Some("b")), Scope::Branch);
        assert_eq!(dialogue.delete(Some("a"), Some("c")), Scope::Call, "it was the last one");
        let (mut unanswered, _) = Dialogue::new("a", None);
        assert_eq!(unanswered.delete(Some("a"), Some("b")), Scope::Call);
    }
}
