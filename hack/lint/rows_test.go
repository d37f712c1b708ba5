package lint

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/oakum-build/oakum/hack/conformance"
)

// exempt are the rows that no conformance case can show, and why.
var exempt = map[string]string{
	"144": "needs a server that asks for credentials; TestCredentials has one",
	"145": "needs an ssh server; TestSSH has one",

	"2b.31": "needs a registry that asks for credentials; the script login has one",
	"2b.32": "needs a registry besides; the script registry has one",
	"2b.50": "needs a control group that is delegated; the sandboxes' suite has one where there is one", "2b.51": "the same",
}

// TestRows checks docs/dockerfile.md: it has every row with a state, its tests exist,
// and a conformance case shows what is done.
func TestRows(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs/dockerfile.md"))
	if err != nil {
		t.Fatal(err)
	}
	cases, err := conformance.Load(os.DirFS(filepath.Join(root, "hack/conformance/testdata")))
	if err != nil {
		t.Fatal(err)
	}
	rows, faults := parseRows(string(text))
	names, err := testNames(tree(t), os.DirFS(root), cases)
	if err != nil {
		t.Fatal(err)
	}
	faults = append(faults, rowFaults(rows, func(test string) bool { return names[test] })...)
	for _, fault := range append(faults, uncovered(rows, cases, exempt)...) {
		t.Errorf("docs/dockerfile.md: %s", fault)
	}
}

// TestRowFaults checks the check.
func TestRowFaults(t *testing.T) {
	rows, faults := parseRows(`
| row | feature | state | test |
|--|--|--|--|
| 1–3, 5 | a | yes | ` + "`TestA`, `b`" + ` |
| 2a 2, 3 | b | yes, but | |
| 300 | c | yesterday | |
| 4 | d | no |

| other | table |
|--|--|
| 7 | x |
`)
	if want := []string{"line 7: 3 columns instead of 4"}; !reflect.DeepEqual(faults, want) {
		t.Errorf("got %q, want %q", faults, want)
	}
	if got, want := rows[0].rows, []string{"1", "2", "3", "5"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := rows[1].rows, []string{"2a.2", "2a.3"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	faults = rowFaults(rows, func(test string) bool { return test == "TestA" })
	for _, want := range []string{
		"line 4: there is no test b",
		"line 5: yes without a test",
		`line 6: there is no row "300"`,
		`line 6: the state "yesterday" does not begin with yes, no or not a goal`,
		"row 4 is missing", "row 2a.1 is missing", "row 216 is missing",
	} {
		if !slices.Contains(faults, want) {
			t.Errorf("%q is not among %q", want, faults)
		}
	}
	cases := []*conformance.Case{{Rows: []string{"1", "2"}}}
	got := uncovered(rows, cases, map[string]string{"3": "why", "2": "why", "4": "why", "2a.2": "why", "2a.3": "why"})
	slices.Sort(got)
	if want := []string{"row 2 needs no exemption", "row 4 needs no exemption", "row 5 is done, but no conformance case shows it"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
