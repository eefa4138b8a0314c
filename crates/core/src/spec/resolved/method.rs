//! How to train.

/// How to train.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// Supervised fine-tuning.
    Sft,
    /// Continued pre-training.
    Cpt,
    /// Direct preference optimization (Rafailov et al. 2023).
    Dpo {
        /// How much a difference to the reference model counts.
        beta: f64,
        /// The loss of a pair.
        loss: DpoLoss,
    },
    /// Odds ratio preference optimization (Hong et al. 2024).
    Orpo {
        /// How much the odds ratio counts beside the likelihood of the chosen answer; the paper's lambda.
        beta: f64,
    },
}

/// The loss of a pair in [`Method::Dpo`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum DpoLoss {
    /// Logistic.
    Sigmoid,
    /// Squared, on log-probabilities divided by the tokens of their answer (Azar et al. 2023, as TRL 1.x).
    Ipo,
    /// A margin (SLiC, Zhao et al. 2023).
    Hinge,
    /// Logistic, with both directions weighted.
    Cdpo {
        /// Share of the pairs whose label is taken to be wrong, below one half.
        label_smoothing: f64,
    },
}

/// What a method learns from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LearnsFrom {
    /// Texts and answers, one by one.
    Texts,
    /// Pairs of a chosen and a rejected answer to one prompt.
    Pairs,
}

impl Method {
    /// What it learns from.
    pub fn learns_from(self) -> LearnsFrom {
        match self {
            Self::Sft | Self::Cpt => LearnsFrom::Texts,
            Self::Dpo { .. } | Self::Orpo { .. } => LearnsFrom::Pairs,
        }
    }
}
