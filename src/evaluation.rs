//! What `eval` counts: which class a model gives to each sample, and which it should.
//!
//! In: scores or classes of samples with their labels, one after the other. Out: top-1 and top-k, accuracy per class, the
//! confusion matrix, the samples that were mistaken, and the worst of these with their images. Ties: of equal scores the
//! one with the lowest index comes first. Refuses: scores that are no numbers, classes beyond the model's.

use crate::output::fault;
use serde_json::{Value, json};
use unfloat_data::picture::Picture;
use unfloat_ir::{Data, Diagnostic, Location};

/// Mistakes that are shown with their images.
pub const WORST: usize = 32;

/// A sample on its way through the model.
pub struct Pending {
    /// What it is called.
    pub name: String,
    /// Its class.
    pub label: usize,
    /// The image, where it is wanted and is one.
    pub picture: Option<Picture>,
}

/// A sample that got another class than its own.
pub struct Mistake {
    /// What it is called.
    pub name: String,
    /// Its class.
    pub label: usize,
    /// The class that the model gives.
    pub predicted: usize,
    /// By how much the score of that is above the score of its own; 0 where there are no scores.
    pub margin: f64,
}

/// All that was counted.
pub struct Tally {
    /// The names of the classes; numbers where there are none.
    pub classes: Vec<String>,
    /// How many places count as found; 1 where the model gives no scores.
    pub top: usize,
    /// Samples.
    pub samples: u64,
    /// Samples whose class is among the first `top`.
    pub among: u64,
    /// Samples of each class (row) that got each class (column).
    pub confusion: Vec<Vec<u64>>,
    /// Those that got another class.
    pub mistakes: Vec<Mistake>,
    /// The worst of them, by margin, with images: places in `mistakes`.
    pub worst: Vec<(usize, Picture)>,
}

impl Tally {
    /// Nothing is counted yet.
    pub fn new(classes: Vec<String>, top: usize) -> Self {
        let confusion = vec![vec![0; classes.len()]; classes.len()];
        let (mistakes, worst) = (Vec::new(), Vec::new());
        Self { classes, top, samples: 0, among: 0, confusion, mistakes, worst }
    }

    /// Counts one sample. `scores` are those of all classes.
    pub fn scores(&mut self, sample: Pending, scores: &[f64]) -> Result<(), Diagnostic> {
        if let Some(place) = scores.iter().position(|s| s.is_nan()) {
            let text = format!("the model's score {place} is no number (NaN)");
            return Err(Diagnostic::error(Location::file(sample.name), text));
        }
        let own = *scores.get(sample.label).ok_or_else(|| self.beyond(&sample))?;
        let better = |(i, s): (usize, &f64)| *s > own || (*s == own && i < sample.label);
        let rank = scores.iter().enumerate().filter(|p| better(*p)).count();
        let mut best = 0;
        for (i, s) in scores.iter().enumerate() {
            if *s > scores[best] {
                best = i;
            }
        }
        self.among += u64::from(rank < self.top);
        self.count(sample, best, scores[best] - own);
        Ok(())
    }

    /// Counts one sample whose class alone the model gives.
    pub fn class(&mut self, sample: Pending, class: i64) -> Result<(), Diagnostic> {
        let found = usize::try_from(class).ok().filter(|c| *c < self.classes.len());
        let Some(class) = found else {
            let text = format!("the model gives class {class}, and there are {}", self.classes.len());
            return Err(Diagnostic::error(Location::file(sample.name), text));
        };
        if sample.label >= self.classes.len() {
            return Err(self.beyond(&sample));
        }
        self.among += u64::from(class == sample.label);
        self.count(sample, class, 0.0);
        Ok(())
    }

    fn beyond(&self, sample: &Pending) -> Diagnostic {
        let text = format!("has the label {}, and the model {} classes", sample.label, self.classes.len());
        Diagnostic::error(Location::file(sample.name.clone()), text)
            .help("labels count from 0; are these the data of this model?")
    }

    fn count(&mut self, sample: Pending, predicted: usize, margin: f64) {
        self.samples += 1;
        self.confusion[sample.label][predicted] += 1;
        if predicted == sample.label {
            return;
        }
        let place = self.mistakes.len();
        let (name, label) = (sample.name, sample.label);
        self.mistakes.push(Mistake { name, label, predicted, margin });
        if let Some(picture) = sample.picture {
            // Of equal margins the earlier sample comes first.
            let at = self.worst.partition_point(|(i, _)| self.mistakes[*i].margin >= margin);
            self.worst.insert(at, (place, picture));
            self.worst.truncate(WORST);
        }
    }

    /// Samples that got their own class.
    pub fn correct(&self) -> u64 {
        self.samples - self.mistakes.len() as u64
    }

    /// Samples of a class, and those of them that got it.
    pub fn of_class(&self, class: usize) -> (u64, u64) {
        (self.confusion[class].iter().sum(), self.confusion[class][class])
    }

    /// The whole as JSON.
    pub fn to_json(&self) -> Value {
        let share = |part: u64, all: u64| (all > 0).then(|| part as f64 / all as f64);
        let class = |c: usize| {
            let (samples, correct) = self.of_class(c);
            json!({
                "class": c, "name": self.classes[c], "samples": samples, "correct": correct,
                "accuracy": share(correct, samples),
            })
        };
        let mistake = |m: &Mistake| json!({ "name": m.name, "label": m.label, "predicted": m.predicted, "margin": m.margin });
        json!({
            "samples": self.samples,
            "top_1": { "correct": self.correct(), "accuracy": share(self.correct(), self.samples) },
            "top_k": { "k": self.top, "correct": self.among, "accuracy": share(self.among, self.samples) },
            "classes": (0..self.classes.len()).map(class).collect::<Vec<_>>(),
            "confusion": self.confusion,
            "misclassified": self.mistakes.iter().map(mistake).collect::<Vec<_>>(),
        })
    }
}

/// The scores of one sample in a batch.
pub fn scores(data: &Data, classes: usize, sample: usize) -> Result<Vec<f64>, Diagnostic> {
    let at = sample * classes..(sample + 1) * classes;
    let scores: Option<Vec<f64>> = match data {
        Data::F32(v) => v.get(at).map(|s| s.iter().map(|&x| x.into()).collect()),
        codes => at.map(|i| codes.code(i).map(|c| c as f64)).collect(),
    };
    scores.ok_or_else(|| fault("the model gave fewer results than samples"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(name: &str, label: usize) -> Pending {
        let picture = Some(Picture { shape: [1, 1, 1], pixels: vec![label as u8] });
        Pending { name: name.to_string(), label, picture }
    }

    fn tally(top: usize) -> Tally {
        Tally::new(["a", "b", "c"].map(str::to_string).to_vec(), top)
    }

    #[test]
    fn ties_go_to_the_lowest_index() {
        let mut t = tally(2);
        t.scores(pending("first", 0), &[1.0, 1.0, 1.0]).unwrap();
        t.scores(pending("second", 1), &[1.0, 1.0, 1.0]).unwrap();
        t.scores(pending("third", 2), &[1.0, 1.0, 1.0]).unwrap();
        assert_eq!((t.correct(), t.among, t.samples), (1, 2, 3));
        assert_eq!(t.confusion, [[1, 0, 0], [1, 0, 0], [1, 0, 0]]);
    }

    #[test]
    fn the_worst_come_first() {
        let mut t = tally(1);
        t.scores(pending("near", 0), &[0.0, 0.5, 0.0]).unwrap();
        t.scores(pending("right", 1), &[0.0, 0.5, 0.0]).unwrap();
        t.scores(pending("far", 2), &[9.0, 0.0, 0.0]).unwrap();
        t.scores(pending("near too", 0), &[0.0, 0.0, 0.5]).unwrap();
        let worst: Vec<&str> = t.worst.iter().map(|(i, _)| t.mistakes[*i].name.as_str()).collect();
        assert_eq!(worst, ["far", "near", "near too"]);
        assert_eq!(t.to_json()["misclassified"][0]["name"], "near");
        assert_eq!(t.to_json()["classes"][2]["accuracy"], 0.0);
        assert_eq!(t.of_class(0), (2, 0));
    }

    #[test]
    fn what_is_no_score_or_class_is_refused() {
        let mut t = tally(1);
        let nan = t.scores(pending("x.bmp", 0), &[0.0, f64::NAN, 0.0]).unwrap_err().to_string();
        assert!(nan.contains("x.bmp") && nan.contains("score 1 is no number"), "{nan}");
        let label = t.scores(pending("y", 3), &[0.0; 3]).unwrap_err().to_string();
        assert!(label.contains("label 3") && label.contains("3 classes"), "{label}");
        assert!(t.class(pending("z", 0), 3).unwrap_err().to_string().contains("class 3"));
        assert!(t.class(pending("z", 7), 0).is_err());
        t.class(pending("z", 2), 2).unwrap();
        assert_eq!((t.correct(), t.samples), (1, 1));
    }
}
