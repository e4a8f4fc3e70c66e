//! `adytum predict`: classifies images with a served model, as the Occlum
//! deployment's client does.

pub(crate) mod target;

use std::{num::NonZeroUsize, path::PathBuf};

use adytum_client::{
    Labels, image,
    ranking::{self, RankedClass},
};
use anyhow::Result;
use serde::Serialize;

use self::target::Target;
use crate::{attest::Verified, output};

/// Arguments of `adytum predict`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// A JPEG or PNG image; may be given several times. With --json each gives an object on a line of
    /// its own.
    #[arg(long = "image", required = true, value_name = "FILE")]
    images: Vec<PathBuf>,
    /// The output with the scores, where the model has several.
    #[arg(long, value_name = "NAME")]
    output: Option<String>,
    /// Names of the classes: a text file with one a line.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// How many of the most probable classes to print.
    #[arg(long, default_value = "1", value_name = "COUNT")]
    top: NonZeroUsize,
}

/// Runs it. The first image that fails ends it.
pub(crate) async fn run(args: Args) -> Result<()> {
    let labels = args.labels.as_deref().map(Labels::read).transpose()?;
    // A fault of a file is reported before the server is bothered.
    let first = image::read(&args.images[0])?;
    let options = args.target.served.options()?;
    let (client, input) = args.target.connect(&options).await?;
    let mut printed = None;
    let mut decoded = Some(first);
    for path in &args.images {
        let picture = match decoded.take() {
            Some(picture) => picture,
            None => image::read(path)?,
        };
        let mut request = args.target.served.model().request(&input, input.tensor(&picture)?);
        request.output_filter.extend(args.output.clone());
        let response = client.predict(request).await?;
        let verified = options.attestation.as_ref().and_then(|attestation| {
            let version = response.model_spec.as_ref().and_then(|model| model.version_choice.clone());
            Verified::of(&attestation.last()?, args.target.served.model().name.as_str(), version)
        });
        if !output::is_json() && verified.is_some() && verified != printed {
            verified.iter().for_each(output::note);
            printed.clone_from(&verified);
        }
        let scores = ranking::scores(&response, args.output.as_deref())?;
        if let Some(labels) = &labels {
            labels.check(scores.len())?;
        }
        let prediction = Prediction::new(
            path.display().to_string(),
            &ranking::top(&scores, args.top.get()),
            labels.as_ref(),
            verified,
        );
        if output::is_json() {
            output::line(serde_json::to_string(&prediction)?)?;
        } else {
            output::text(&prediction.text(args.images.len() > 1))?;
        }
    }
    Ok(())
}

/// The result for one image.
#[derive(Debug, Serialize)]
struct Prediction {
    image: String,
    /// The most probable class, its own fields next to the list of all.
    #[serde(flatten)]
    best: Class,
    top: Vec<Class>,
    /// The replica that answered, if it was verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<Verified>,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Class {
    /// A string, so that programs need not care what classes are called.
    class: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    probability: f64,
}

impl Prediction {
    fn new(
        image: String,
        ranked: &[RankedClass],
        labels: Option<&Labels>,
        verified: Option<Verified>,
    ) -> Self {
        let top: Vec<_> = ranked
            .iter()
            .map(|ranked| Class {
                class: ranked.class.to_string(),
                label: labels.and_then(|labels| labels.name(ranked.class)).map(str::to_owned),
                probability: ranked.probability,
            })
            .collect();
        Self { image, best: top.first().cloned().unwrap_or_default(), top, verified }
    }

    /// Occlum's client's two lines, with its two spaces, and more where
    /// more was asked for.
    fn text(&self, name_image: bool) -> String {
        let mut text = String::new();
        if name_image {
            text += &format!("Image:  {}\n", self.image);
        }
        text += &format!("Prediction class:  {}\n", self.best.class);
        if let Some(label) = &self.best.label {
            text += &format!("Label:  {label}\n");
        }
        text += &format!("Probability:  {}\n", self.best.probability);
        for (place, class) in self.top.iter().enumerate().skip(1) {
            let label = class.label.as_ref().map(|label| format!(" ({label})")).unwrap_or_default();
            text += &format!("{}. class {}{label}: {}\n", place + 1, class.class, class.probability);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prediction() -> Prediction {
        let best = Class { class: "4".to_owned(), label: None, probability: f64::from(0.98118013_f32) };
        let second = Class { class: "9".to_owned(), label: Some("nine".to_owned()), probability: 0.01 };
        Prediction {
            image: "four.png".to_owned(),
            best: best.clone(),
            top: vec![best, second],
            verified: None,
        }
    }

    #[test]
    fn the_lines_are_the_occlum_clients() {
        let mut prediction = prediction();
        prediction.top.truncate(1);
        assert_eq!(prediction.text(false), "Prediction class:  4\nProbability:  0.9811801314353943\n");
    }

    #[test]
    fn more_is_said_where_more_was_asked_for() {
        assert_eq!(
            prediction().text(true),
            "Image:  four.png\nPrediction class:  4\nProbability:  0.9811801314353943\n2. class 9 (nine): 0.01\n"
        );
    }

    #[test]
    fn json_has_the_best_class_at_the_top() {
        let json: serde_json::Value = serde_json::to_value(prediction()).unwrap();
        assert_eq!(json["class"], "4");
        assert_eq!(json["image"], "four.png");
        assert_eq!(json["top"][1]["label"], "nine");
        assert!(json.get("label").is_none());
    }
}
