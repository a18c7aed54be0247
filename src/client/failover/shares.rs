//! Shares the connections among tokens by their weights, evenly over time: the smooth weighted round robin of nginx, so that of
//! weights 3 and 1 each fourth connection has the second token, and not 3 in a row and then 1.

/// One token of several that share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) priority: u16,
    pub(super) weight: u16,
}

/// What speaks for asking a token; the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fitness {
    Good,
    /// It did not sign when it was asked last.
    DidNotSign,
    /// Its certificate is not valid now: the hub would refuse it.
    OutOfTime,
}

/// What each token has coming to it.
#[derive(Debug)]
pub(super) struct Shares {
    shares: Vec<Share>,
    due: Vec<i64>,
}

impl Shares {
    pub(super) fn new(shares: Vec<Share>) -> Self {
        Self {
            due: vec![0; shares.len()],
            shares,
        }
    }

    /// The numbers of all tokens that may be asked, in the order in which they are: the one whose turn it is among the good ones of
    /// the lowest `priority`, then the others by fitness, priority and weight. `fitness` is `None` for one that cannot be asked.
    pub(super) fn order(
        &mut self,
        fitness: impl Fn(usize) -> Option<Fitness>,
    ) -> Vec<(usize, Fitness)> {
        let mut order: Vec<_> = (0..self.shares.len())
            .filter_map(|number| Some((number, (fitness(number)?, self.shares[number].priority))))
            .collect();
        let weight = |number: usize| std::cmp::Reverse(self.shares[number].weight);
        order.sort_by_key(|(number, class)| (*class, weight(*number)));
        let Some(class) = order.first().map(|(_, class)| *class) else {
            return Vec::new();
        };
        let sharing: Vec<_> = order
            .iter()
            .filter(|(_, of)| *of == class)
            .map(|(number, _)| *number)
            .collect();
        if let Some(next) = self.next(&sharing) {
            order.sort_by_key(|(number, _)| *number != next);
        }
        let asked = order.into_iter();
        asked
            .map(|(number, (fitness, _))| (number, fitness))
            .collect()
    }

    /// A token signs again: it gets its share from now on, and nothing for the time before.
    pub(super) fn start_anew(&mut self, number: usize) {
        if let Some(due) = self.due.get_mut(number) {
            *due = 0;
        }
    }

    fn next(&mut self, sharing: &[usize]) -> Option<usize> {
        let weight = |number: &usize| i64::from(self.shares[*number].weight);
        let all: i64 = sharing.iter().map(weight).sum();
        for number in sharing {
            self.due[*number] += i64::from(self.shares[*number].weight);
        }
        // The first of those that have the most.
        let next = sharing.iter().rev().max_by_key(|number| self.due[**number]);
        let next = *next?;
        self.due[next] -= all;
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::Fitness::{DidNotSign, Good, OutOfTime};
    use super::*;

    fn numbers(shares: &mut Shares, fitness: impl Fn(usize) -> Option<Fitness>) -> Vec<usize> {
        let order = shares.order(fitness).into_iter();
        order.map(|(number, _)| number).collect()
    }

    fn shares(shares: &[(u16, u16)]) -> Shares {
        let share = |&(priority, weight)| Share { priority, weight };
        Shares::new(shares.iter().map(share).collect())
    }

    #[test]
    fn each_gets_its_share_evenly() {
        let mut shares = shares(&[(1, 3), (1, 1)]);
        let first = |shares: &mut Shares| numbers(shares, |_| Some(Good))[0];
        let eight: Vec<_> = (0..8).map(|_| first(&mut shares)).collect();
        assert_eq!(eight, [0, 0, 1, 0, 0, 0, 1, 0]);
    }

    #[test]
    fn the_next_priority_waits_until_all_before_it_are_bad() {
        let mut shares = shares(&[(2, 9), (1, 1), (1, 2), (3, 1)]);
        let only = |good: fn(usize) -> bool| {
            move |number| Some(if good(number) { Good } else { DidNotSign })
        };
        assert_eq!(numbers(&mut shares, |_| Some(Good)), [2, 1, 0, 3]);
        assert_eq!(numbers(&mut shares, only(|it| it != 2)), [1, 0, 3, 2]);
        assert_eq!(numbers(&mut shares, only(|it| it == 3)), [3, 2, 1, 0]);
        let but_the_last = |number| (number != 3).then_some(only(|it| it == 0)(number)?);
        assert_eq!(numbers(&mut shares, but_the_last), [0, 2, 1]);
        assert_eq!(numbers(&mut shares, |_| None), [0; 0]);
        // A certificate that the hub would refuse is the last resort, whatever its priority.
        let out_of_time = |number| Some(if number == 2 { OutOfTime } else { DidNotSign });
        assert_eq!(numbers(&mut shares, out_of_time), [1, 0, 3, 2]);
        // Where none is good, all are asked, by priority.
        let mut none = numbers(&mut shares, only(|_| false));
        none[..2].sort_unstable();
        assert_eq!(none, [1, 2, 0, 3]);
    }

    #[test]
    fn one_that_comes_back_catches_up_on_nothing() {
        let mut shares = shares(&[(1, 1), (1, 1)]);
        for _ in 0..100 {
            let first = |number| Some(if number == 0 { Good } else { DidNotSign });
            assert_eq!(numbers(&mut shares, first)[0], 0);
        }
        shares.start_anew(1);
        let order: Vec<_> = (0..6)
            .map(|_| numbers(&mut shares, |_| Some(Good))[0])
            .collect();
        assert_eq!(order.iter().filter(|number| **number == 1).count(), 3);
    }
}
