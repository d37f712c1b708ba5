package lint

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestArchitecture holds the pictures of docs/architecture.md against the imports, and the
// tests that it names against those that there are.
func TestArchitecture(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs/architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	pictures, faults := parsePictures(string(text))
	if len(pictures) == 0 {
		t.Fatal("docs/architecture.md has no picture")
	}
	files := tree(t)
	for _, fault := range append(faults, pictureFaults(pictures, imports(files))...) {
		t.Errorf("docs/architecture.md: %s", fault)
	}
	names, err := testNames(files, os.DirFS(root), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(string(text), -1) {
		if !names[test[1]] {
			t.Errorf("docs/architecture.md: there is no test %s", test[1])
		}
	}
}

// TestPictureFaults checks the check.
func TestPictureFaults(t *testing.T) {
	page := "# A page\n```mermaid\nflowchart TD\nsubgraph the library\nb[\"builder\"]\nin[\"builder/internal/…\"]\nend\n" +
		"s[\"storage<br>storage/records\"]\nb --> in & s\nin --> s\n```\n"
	graph := func(edges ...string) map[string]map[string]bool {
		g := map[string]map[string]bool{"builder": {}, "builder/internal/a": {}, "builder/internal/b": {}, "storage": {}, "storage/records": {}}
		for _, e := range append(edges, "builder builder/internal/a", "builder/internal/a builder/internal/b", "builder storage", "storage storage/records") {
			from, to, _ := strings.Cut(e, " ")
			if g[from] == nil {
				g[from] = map[string]bool{}
			}
			g[from][to] = true
		}
		return g
	}
	const in = "builder/internal/b storage"
	for name, test := range map[string]struct {
		page  string
		graph map[string]map[string]bool
		want  []string
	}{
		"right":            {page, graph(in), nil},
		"an edge too many": {page, graph(), []string{"the picture of line 2 has the edge in --> s, which is no import"}},
		"an edge too few":  {page, graph(in, "storage builder"), []string{"the picture of line 2 lacks the edge s --> b: storage imports builder"}},
		"a new package":    {page, graph(in, "cmd builder"), []string{"cmd is in no picture"}},
		"a package that went": {strings.Replace(page, "storage/records", "storage/gone", 1), graph(in),
			[]string{"no picture shows that storage imports storage/records", "storage/records is in no picture", "the picture of line 2 has storage/gone, which is no package"}},
		"two pictures that together show all": {page + "```mermaid\nc[\"cmd\"]\nb[\"builder\"]\nc --> b\n```\n", graph(in, "cmd builder"), nil},
		"an import that falls between them":   {page + "```mermaid\nc[\"cmd\"]\n```\n", graph(in, "cmd builder"), []string{"no picture shows that cmd imports builder"}},
		"not understood":                      {strings.Replace(page, "in --> s", "in -.-> s", 1), graph(in), []string{"line 10: \"in -.-> s\" is neither a node nor an edge", "the picture of line 2 lacks the edge in --> s: builder/internal/b imports storage"}},
		"twice":                               {strings.Replace(page, "in --> s", "in --> s\nb --> s", 1), graph(in), []string{"line 11: the edge from b to s is there twice"}},
	} {
		pictures, got := parsePictures(test.page)
		got = append(got, pictureFaults(pictures, test.graph)...)
		slices.Sort(got)
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}
