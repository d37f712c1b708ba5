package main

import (
	"encoding/json"
	"io"
	"reflect"
	"strings"
	"text/tabwriter"
	"text/template"
	"time"
	"unicode"

	"github.com/docker/go-units"

	"github.com/oakum-build/oakum/builder/display"
)

// format is a parsed --format: JSON, a Go template for each row, or a table whose
// columns a template gives.
type format struct {
	json     bool
	header   bool
	template *template.Template // nil with json
}

// parseFormat reads --format. table is the template of the default table; "" is for
// verbs whose default is JSON.
func parseFormat(text, table string) (format, error) {
	switch {
	case text == "json" || text == "" && table == "":
		return format{json: true}, nil
	case text == "" || text == "table":
		text = "table " + table
	}
	text, header := strings.CutPrefix(text, "table ")
	// A shell does not turn \t into a tab; the peers do it for the user.
	text = strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(text)
	t, err := template.New("--format").Funcs(template.FuncMap{
		"json":  toJSON,
		"join":  func(list []string, sep string) string { return strings.Join(list, sep) },
		"split": strings.Split,
		"lower": strings.ToLower,
		"upper": strings.ToUpper,
	}).Parse(text + "\n")
	if err != nil {
		return format{}, usagef("--format: %v", err)
	}
	return format{header: header, template: t}, nil
}

// list is rows to print, with the headings of their columns in a row of their own.
type list[T any] struct {
	headings T
	rows     []T
	json     any // what --format json shows
}

// print writes l to w in the format f.
func (l list[T]) print(w io.Writer, f format) error {
	if f.json {
		return printJSON(w, l.json)
	}
	table := tabwriter.NewWriter(w, 12, 2, 2, ' ', 0)
	if f.header {
		l.rows = append([]T{l.headings}, l.rows...)
		for i := range l.rows {
			oneLineEach(&l.rows[i])
		}
		w = table
	}
	for _, row := range l.rows {
		if err := f.template.Execute(w, row); err != nil {
			return usagef("--format: %v", err)
		}
	}
	return table.Flush()
}

// oneLineEach makes the texts of a row fit for a table.
func oneLineEach(row any) {
	fields := reflect.ValueOf(row).Elem()
	for i := range fields.NumField() {
		switch value := fields.Field(i).Interface().(type) {
		case string:
			fields.Field(i).SetString(display.Line(value))
		case []string:
			lines := make([]string, len(value))
			for n, text := range value {
				lines[n] = display.Line(text)
			}
			fields.Field(i).Set(reflect.ValueOf(lines))
		}
	}
}

// printJSON writes v indented, and without the escapes that are for HTML only.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(display.NewWriter(w))
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "    ")
	return enc.Encode(v)
}

// toJSON is the template function json.
func toJSON(v any) (string, error) {
	var text strings.Builder
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return strings.TrimSuffix(text.String(), "\n"), err
}

// shortID is the first 12 digits of an image id.
func shortID(id string) string { return id[:min(12, len(id))] }

// humanSize is a size in decimal units, as podman writes it: 4.5 MB.
func humanSize(bytes int64) string {
	s := units.HumanSizeWithPrecision(float64(bytes), 3)
	unit := strings.LastIndexFunc(s, unicode.IsNumber) + 1
	return s[:unit] + " " + s[unit:]
}

// ago is the time since t in words.
func ago(t time.Time) string {
	if t.IsZero() {
		return "N/A"
	}
	return units.HumanDuration(time.Since(t)) + " ago"
}

// splitName splits an image name into repository, tag and digest; either of the
// last two may be empty. Names in the store are fully qualified, so that a colon
// after the last slash begins a tag.
func splitName(name string) (repository, tag, digest string) {
	name, digest, _ = strings.Cut(name, "@")
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		return name[:colon], name[colon+1:], digest
	}
	return name, "", digest
}

// orNone is what tables show for nothing.
func orNone(s string) string {
	if s == "" {
		return "<none>"
	}
	return s
}

// ellipsis shortens text to n characters.
func ellipsis(text string, n int) string {
	if r := []rune(text); len(r) > n {
		return string(r[:n-3]) + "..."
	}
	return text
}

// oneLine joins the lines and runs of space in text, so that it fits a table's row.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// stamp writes a time as the peers' CreatedAt columns do.
func stamp(t time.Time) string { return t.Format("2006-01-02 15:04:05 -0700 MST") }
