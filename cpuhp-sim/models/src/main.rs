//! Runs latency models: `cpuhp-models FILE...` prints one JSON document. A model that
//! names other numbers of CPUs is run with those as well.

use std::process::ExitCode;

use cpuhp_models::{Model, Report, Sweep};
use serde::Serialize;

#[derive(Serialize)]
struct Document {
    reports: Vec<Report>,
    sweep: Option<Sweep>,
}

fn main() -> ExitCode {
    let files: Vec<String> = std::env::args().skip(1).collect();
    match document(&files).and_then(|document| Ok(serde_json::to_string(&document)?)) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn document(files: &[String]) -> Result<Document, Box<dyn std::error::Error>> {
    let mut document = Document {
        reports: Vec::new(),
        sweep: None,
    };
    for file in files {
        let text = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
        let model = Model::parse(&text).map_err(|error| format!("{file}: {error}"))?;
        document.reports.push(Report::of(&model)?);
        if !model.sweep.is_empty() {
            document.sweep = Some(Sweep::of(&model)?);
        }
    }
    Ok(document)
}
