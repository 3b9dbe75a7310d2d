//! What is said: the users' questions, and what the worker knows.

/// A question and the answer that the worker must give.
pub struct Line {
    /// What the user asks.
    pub question: &'static str,
    /// What the worker answers.
    pub answer: &'static str,
}

/// Conversations of one user, each with its title and its lines.
pub struct Part {
    /// The conversation that the user has open.
    pub title: &'static str,
    /// What is said there.
    pub lines: &'static [Line],
    /// What the user asks there while a screen is away.
    pub while_away: &'static [Line],
    /// Another conversation, which the user does not look at.
    pub aside_title: &'static str,
    /// What is said there.
    pub aside: Line,
}

impl Part {
    /// How many questions it has.
    pub fn questions(&self) -> usize {
        self.lines.len() + self.while_away.len() + 1
    }
}

/// Alice's part.
pub const ALICE: Part = Part {
    title: "balcony plants",
    lines: &[
        Line { question: "How often does basil want water?", answer: "When the top of the soil is dry." },
        Line { question: "And in winter?", answer: "Less: about once a week, on a bright sill." },
        Line { question: "Can I cut it back?", answer: "Yes, above a pair of leaves; it grows bushier." },
    ],
    while_away: &[
        Line { question: "What eats its leaves at night?", answer: "Slugs, most likely. Look with a torch." },
        Line { question: "Do they like mint too?", answer: "Much less; its oils put them off." },
    ],
    aside_title: "train to Lisbon",
    aside: Line { question: "Is there a night train?", answer: "Not at present; change in Madrid." },
};

/// Bob's part.
pub const BOB: Part = Part {
    title: "bread",
    lines: &[
        Line { question: "Why is my loaf flat?", answer: "It rose too long: bake it while it still springs back." },
        Line { question: "How hot should the oven be?", answer: "As hot as it goes, then 220 after ten minutes." },
        Line { question: "How do I know it is done?", answer: "Knock on its underside: it sounds hollow." },
    ],
    while_away: &[],
    aside_title: "chess club",
    aside: Line { question: "Who plays on Friday?", answer: "The second team, at seven." },
};

/// The worker's mind.
pub fn think(question: &str) -> &'static str {
    let parts = [&ALICE, &BOB];
    let lines = parts.into_iter().flat_map(|part| part.lines.iter().chain(part.while_away).chain([&part.aside]));
    let known = lines.filter(|line| line.question == question).map(|line| line.answer).next();
    known.unwrap_or("That I do not know.")
}
