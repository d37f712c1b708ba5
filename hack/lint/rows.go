package lint

import (
	"fmt"
	"go/ast"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/oakum-build/oakum/hack/conformance"
)

// A docRow is a line of a table of docs/dockerfile.md.
type docRow struct {
	line  int
	rows  []string // as conformance.AllRows names them
	state string
	tests []string // names in backticks
}

// yes reports whether the row is done.
func (r docRow) yes() bool { return stateWord(r.state) == "yes" }

// stateWord is the word that a state must begin with, before anything that explains it.
func stateWord(state string) string {
	for _, word := range []string{"yes", "no", "not a goal"} {
		rest, ok := strings.CutPrefix(state, word)
		if ok && (rest == "" || strings.Contains(",:;", rest[:1])) {
			return word
		}
	}
	return ""
}

var (
	backticked = regexp.MustCompile("`([^`]*)`")
	cellBorder = regexp.MustCompile(`\s*\|\s*`)
)

// parseRows reads the tables whose first column is "row".
func parseRows(text string) (rows []docRow, faults []string) {
	inTable, number := false, 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			inTable = false
			continue
		}
		cells := cellBorder.Split(strings.TrimSuffix(strings.TrimPrefix(line, "|"), "|"), -1)
		first := strings.TrimSpace(cells[0])
		switch {
		case first == "row":
			inTable = true
		case !inTable || strings.HasPrefix(first, "--"):
		case len(cells) != 4:
			faults = append(faults, fmt.Sprintf("line %d: %d columns instead of 4", number, len(cells)))
		default:
			row := docRow{line: number, rows: expandRows(first), state: cells[2]}
			for _, match := range backticked.FindAllStringSubmatch(cells[3], -1) {
				row.tests = append(row.tests, match[1])
			}
			rows = append(rows, row)
		}
	}
	return rows, faults
}

// expandRows reads the first column: "1–4, 6" or "2a 2–4", or nothing.
func expandRows(cell string) []string {
	if cell == "" {
		return nil
	}
	prefix := ""
	if table, rest, ok := strings.Cut(cell, " "); ok && (table == "2a" || table == "2b") {
		prefix, cell = table+".", rest
	}
	var rows []string
	for part := range strings.SplitSeq(cell, ",") {
		from, to, isRange := strings.Cut(strings.TrimSpace(part), "–")
		if !isRange {
			to = from
		}
		first, err := strconv.Atoi(from)
		last, errLast := strconv.Atoi(to)
		if err != nil || errLast != nil {
			return []string{cell}
		}
		for n := first; n <= last; n++ {
			rows = append(rows, prefix+strconv.Itoa(n))
		}
	}
	return rows
}

// rowFaults checks the tables against the rows that there are and the tests that there are.
func rowFaults(rows []docRow, exists func(test string) bool) (faults []string) {
	seen := map[string]bool{}
	for _, row := range rows {
		for _, name := range row.rows {
			seen[name] = true
			if !slices.Contains(conformance.AllRows(), name) {
				faults = append(faults, fmt.Sprintf("line %d: there is no row %q", row.line, name))
			}
		}
		if stateWord(row.state) == "" {
			faults = append(faults, fmt.Sprintf("line %d: the state %q does not begin with yes, no or not a goal", row.line, row.state))
		}
		if row.yes() && len(row.tests) == 0 {
			faults = append(faults, fmt.Sprintf("line %d: yes without a test", row.line))
		}
		for _, test := range row.tests {
			if !exists(test) {
				faults = append(faults, fmt.Sprintf("line %d: there is no test %s", row.line, test))
			}
		}
	}
	for _, name := range conformance.AllRows() {
		if !seen[name] {
			faults = append(faults, fmt.Sprintf("row %s is missing", name))
		}
	}
	return faults
}

// uncovered lists the rows that are done but that no conformance case shows, unless
// exempt says why, and the exemptions that nothing needs.
func uncovered(rows []docRow, cases []*conformance.Case, exempt map[string]string) (faults []string) {
	covered := map[string]bool{}
	for _, c := range cases {
		for _, row := range c.Rows {
			covered[row] = true
		}
	}
	done := map[string]bool{}
	for _, row := range rows {
		for _, name := range row.rows {
			if row.yes() && !done[name] && !covered[name] && exempt[name] == "" {
				faults = append(faults, fmt.Sprintf("row %s is done, but no conformance case shows it", name))
			}
			done[name] = done[name] || row.yes()
		}
	}
	for name := range exempt {
		if covered[name] || !done[name] {
			faults = append(faults, fmt.Sprintf("row %s needs no exemption", name))
		}
	}
	return faults
}

// testNames are the tests that docs may name: Go's, scripts of cmd/oakum, and
// conformance cases as TABLE/NAME.
func testNames(tree []sourceFile, checkout fs.FS, cases []*conformance.Case) (map[string]bool, error) {
	names := map[string]bool{}
	for _, file := range tree {
		if !file.test {
			continue
		}
		for _, decl := range file.ast.Decls {
			if function, ok := decl.(*ast.FuncDecl); ok && function.Recv == nil {
				names[function.Name.Name] = true
			}
		}
	}
	scripts, err := fs.Glob(checkout, "cmd/oakum/testdata/script/*.txtar")
	for _, script := range scripts {
		names[strings.TrimSuffix(path.Base(script), ".txtar")] = true
	}
	for _, c := range cases {
		names[c.Name] = true
	}
	return names, err
}
