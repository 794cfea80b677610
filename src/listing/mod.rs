//! Lists as Docker formats them: a table of some fields, a template a line, or JSON a line.

mod columns;

use rbuild_template::{Missing, Shape, Template, TemplateError, Value};

use crate::report::Failure;

pub(crate) use columns::columns;

/// What a list is of.
#[derive(Debug)]
pub(crate) struct Listing {
    /// Docker's name of the type, for messages.
    pub(crate) name: &'static str,
    /// Fields and the titles of their columns.
    pub(crate) titles: &'static [(&'static str, &'static str)],
}

/// What a format is written as, beside templates.
pub(crate) const TABLE: &str = "table";
pub(crate) const JSON: &str = "json";
pub(crate) const RAW: &str = "raw";

impl Listing {
    /// Makes a line of values in the order of the titles.
    pub(crate) fn row(&self, values: impl IntoIterator<Item = Value>) -> Value {
        let names = self.titles.iter().map(|(name, _)| *name);
        Value::object(Shape::Row { name: self.name }, names.zip(values))
    }

    /// Formats lines by `table TEMPLATE`, `json` or a template.
    pub(crate) fn show(&self, format: &str, rows: &[Value]) -> Result<String, Failure> {
        let (is_table, text) = match format.strip_prefix(TABLE) {
            Some(text) => (true, text),
            None if format == JSON => (false, "{{json .}}"),
            None => (false, format),
        };
        let text = text.trim_matches(' ');
        let text = text.replace("\\t", "\t").replace("\\n", "\n");
        let template = Template::parse(&text).map_err(|error| failed(&error))?;
        let mut lines = String::new();
        for row in rows {
            let line = template.execute(row, Missing::NoValue);
            lines.push_str(&line.map_err(|error| failed(&error))?);
            lines.push('\n');
        }
        if !is_table {
            return Ok(lines);
        }
        let titles = self.titles.iter();
        let titles = titles.map(|(name, title)| (*name, Value::text(title)));
        let titles = Value::object(Shape::Texts, titles);
        let header = template.execute_header(&titles);
        let header = header.map_err(|error| failed(&error))?;
        Ok(columns(&format!("{header}\n{lines}")))
    }
}

fn failed(error: &TemplateError) -> Failure {
    Failure::message(format!("template parsing error: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PETS: Listing = Listing {
        name: "*formatter.petContext",
        titles: &[("Name", "NAME"), ("ID", "PET ID")],
    };

    fn check(format: &str, expected: &str) {
        let rows = [["Rex", "12345"], ["<none>", ""]].map(|cells| PETS.row(cells.map(Value::text)));
        assert_eq!(PETS.show(format, &rows).unwrap(), expected, "{format}");
    }

    #[test]
    fn formats() {
        check(
            "table {{.Name}}\\t{{.ID}}",
            "NAME      PET ID\nRex       12345\n<none>    \n",
        );
        check(
            "table {{upper .Name}}\t{{truncate .ID 2}}",
            "NAME      PET ID\nREX       12\n<NONE>    \n",
        );
        check("{{.Name}}\\n", "Rex\n\n<none>\n\n");
        check(
            "json",
            "{\"ID\":\"12345\",\"Name\":\"Rex\"}\n{\"ID\":\"\",\"Name\":\"\\u003cnone\\u003e\"}\n",
        );
        check("  plain ", "plain\nplain\n");
    }

    #[test]
    fn what_is_wrong_with_a_format() {
        let fault = |format| PETS.show(format, &[PETS.row([])]).unwrap_err().render();
        assert!(fault("{{.Nope}}").contains(
            "template parsing error: template: :1:2: executing \"\" at <.Nope>: can't evaluate \
             field Nope in type *formatter.petContext"
        ));
        assert!(fault("{{").contains("template parsing error: template: :1: unclosed action"));
    }
}
