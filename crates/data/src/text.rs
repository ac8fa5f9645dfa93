//! Text: stretches of tokens, with the tokens that follow.

use fedra_protocol::data::TextSpec;

use crate::collect::{Collector, Target};
use crate::csv;
use crate::read_error::{Place, Problem, ReadError};

/// Outputs of the model that the text is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Predicts {
    /// The token after each position.
    Each,
    /// The token after the last position.
    Last,
}

/// Reader of one text.
pub(crate) struct TextFile {
    file: String,
    predicts: Predicts,
    /// Bytes of the start, while they may be a byte-order mark; `None` behind it.
    start: Option<Vec<u8>>,
    /// Bytes of a character that has begun.
    begun: Vec<u8>,
    /// A carriage return, until the next character says that it ends a line.
    held: bool,
    line: u64,
    ids: Vec<u32>,
    /// Tokens to pass over before the next example.
    skip: usize,
    tokens: u64,
    examples: u64,
}

impl TextFile {
    pub fn new(file: &str, predicts: Predicts) -> Self {
        Self {
            file: file.to_owned(),
            predicts,
            start: Some(Vec::new()),
            begun: Vec::new(),
            held: false,
            line: 1,
            ids: Vec::new(),
            skip: 0,
            tokens: 0,
            examples: 0,
        }
    }

    pub fn push(
        &mut self,
        bytes: &[u8],
        spec: &TextSpec,
        collector: &mut Collector,
    ) -> Result<(), ReadError> {
        let Some(start) = &mut self.start else { return self.take(bytes, spec, collector) };
        start.extend_from_slice(bytes);
        // A byte-order mark has at most three bytes.
        if start.len() < 3 {
            return Ok(());
        }
        let start = self.start.take().unwrap_or_default();
        let text = csv::without_mark(&self.file, &start)?;
        self.take(text, spec, collector)
    }

    pub fn end(mut self, spec: &TextSpec, collector: &mut Collector) -> Result<(), ReadError> {
        if let Some(start) = self.start.take() {
            let text = csv::without_mark(&self.file, &start)?;
            self.take(text, spec, collector)?;
        }
        if self.held {
            self.held = false;
            self.token('\r', spec, collector)?;
        }
        if !self.begun.is_empty() {
            return Err(self.place().error(Problem::NotUtf8));
        }
        if self.tokens == 0 {
            return Err(Place::file(&self.file).error(Problem::EmptyFile));
        }
        if self.examples == 0 {
            let needed = u64::from(spec.context()) + 1;
            let problem = Problem::ShortText { tokens: self.tokens, needed };
            return Err(Place::file(&self.file).error(problem));
        }
        Ok(())
    }

    fn place(&self) -> Place {
        Place { line: Some(self.line), ..Place::file(&self.file) }
    }

    fn take(
        &mut self,
        bytes: &[u8],
        spec: &TextSpec,
        collector: &mut Collector,
    ) -> Result<(), ReadError> {
        if spec.alphabet().is_none() {
            return bytes.iter().try_for_each(|&byte| self.character(byte.into(), spec, collector));
        }
        self.begun.extend_from_slice(bytes);
        let begun = std::mem::take(&mut self.begun);
        let valid = match std::str::from_utf8(&begun) {
            Ok(text) => text.len(),
            Err(error) => {
                let valid = error.valid_up_to();
                if error.error_len().is_some() {
                    self.line +=
                        begun[..valid].iter().filter(|&&byte| byte == b'\n').count() as u64;
                    return Err(self.place().error(Problem::NotUtf8));
                }
                valid
            }
        };
        let text = std::str::from_utf8(&begun[..valid]).unwrap_or_default();
        text.chars().try_for_each(|character| self.character(character, spec, collector))?;
        self.begun = begun[valid..].to_vec();
        Ok(())
    }

    /// Takes a character, or a byte as one. A carriage return before a line feed is none.
    fn character(
        &mut self,
        character: char,
        spec: &TextSpec,
        collector: &mut Collector,
    ) -> Result<(), ReadError> {
        if std::mem::take(&mut self.held) && character != '\n' {
            self.token('\r', spec, collector)?;
        }
        if character == '\r' {
            self.held = true;
            return Ok(());
        }
        self.token(character, spec, collector)?;
        self.line += u64::from(character == '\n');
        Ok(())
    }

    fn token(
        &mut self,
        character: char,
        spec: &TextSpec,
        collector: &mut Collector,
    ) -> Result<(), ReadError> {
        let id = match spec.alphabet() {
            None => Some(u32::from(character)),
            Some(_) => spec.id(character),
        };
        let Some(id) = id else {
            return Err(self.place().error(Problem::UnknownCharacter { character }));
        };
        self.tokens += 1;
        if self.skip > 0 {
            self.skip -= 1;
            return Ok(());
        }
        self.ids.push(id);
        let context = spec.context() as usize;
        if self.ids.len() <= context {
            return Ok(());
        }
        let target = match self.predicts {
            Predicts::Each => Target::Positions(&self.ids[1..]),
            Predicts::Last => Target::Class(id),
        };
        collector
            .add_tokens(&self.ids[..context], target)
            .map_err(|problem| Place::file(&self.file).error(problem))?;
        self.examples += 1;
        let stride = spec.stride() as usize;
        self.skip = stride.saturating_sub(self.ids.len());
        self.ids.drain(..stride.min(self.ids.len()));
        Ok(())
    }
}
