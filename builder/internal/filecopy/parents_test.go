//go:build linux

package filecopy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// makeTree writes files; a name that ends in a slash is a directory, one with " -> " a
// link.
func makeTree(t testing.TB, names string) *os.File {
	t.Helper()
	dir := t.TempDir()
	for name := range strings.FieldsSeq(names) {
		path := filepath.Join(dir, name)
		link, target, isLink := strings.Cut(name, "->")
		var err error
		switch {
		case isLink:
			err = errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, link)), 0o755), os.Symlink(target, filepath.Join(dir, link)))
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o755)
		default:
			err = errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(name), 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return openDir(t, dir)
}

func openDir(t testing.TB, dir string) *os.File {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// list names what is below a directory, with the permissions of directories that do
// not have 0755.
func list(t *testing.T, dir string) string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		rel, relErr := filepath.Rel(dir, path)
		if err = errors.Join(err, relErr); err != nil || rel == "." {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if d.IsDir() {
			rel += "/"
			if info.Mode().Perm() != 0o755 {
				rel += fmt.Sprintf("%o", info.Mode().Perm())
			}
		}
		names = append(names, rel)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, " ")
}

func TestParents(t *testing.T) {
	root := makeTree(t, "a/b/c/d/foo a/b/c/d/e/bay a/b2/c/d/e/bar a/b/c2/d/e/baz a/b/c2/d/e2/baz src/a.txt src/x/b.txt src/x/y/c.txt src/x/c.go empty/ top l->a/b abs->/a/b/c in/l->../a [x]/f")
	if err := os.Chmod(filepath.Join(root.Name(), "src/x"), 0o700); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name     string
		patterns []string
		ignore   []string
		exclude  []string
		want     string
	}{
		{name: "a file", patterns: []string{"src/x/b.txt"}, want: "src/ src/x/700 src/x/b.txt"},
		{name: "a file of the root", patterns: []string{"top"}, want: "top"},
		{name: "a directory with all in it", patterns: []string{"./a/b/c"}, want: "a/ a/b/ a/b/c/ a/b/c/d/ a/b/c/d/e/ a/b/c/d/e/bay a/b/c/d/foo"},
		{name: "a dot at the end", patterns: []string{"/a/b/c/d/."}, want: "a/ a/b/ a/b/c/ a/b/c/d/ a/b/c/d/e/ a/b/c/d/e/bay a/b/c/d/foo"},
		{name: "the pivot", patterns: []string{"/a/b/./c/d"}, want: "c/ c/d/ c/d/e/ c/d/e/bay c/d/foo"},
		{name: "only the first pivot counts", patterns: []string{"./a/./b/./c2/d/e"}, want: "b/ b/c2/ b/c2/d/ b/c2/d/e/ b/c2/d/e/baz"},
		{name: "the pivot at the end", patterns: []string{"a/b2/./"}, want: "c/ c/d/ c/d/e/ c/d/e/bar"},
		{name: "the root", patterns: []string{"."}, ignore: []string{"a", "src", "[[]x]", "l", "in", "abs"}, want: "empty/ top"},
		{name: "a wildcard", patterns: []string{"/a/./*/c"}, want: "b/ b/c/ b/c/d/ b/c/d/e/ b/c/d/e/bay b/c/d/foo b2/ b2/c/ b2/c/d/ b2/c/d/e/ b2/c/d/e/bar"},
		{name: "a wildcard before the pivot", patterns: []string{"a/b*/./c/**/e"}, want: "c/ c/d/ c/d/e/ c/d/e/bar c/d/e/bay"},
		{name: "several", patterns: []string{"/a/b/c*/./d/**/baz", "a/b*/./c/**/bar"}, want: "c/ c/d/ c/d/e/ c/d/e/bar d/ d/e/ d/e/baz d/e2/ d/e2/baz"},
		{name: "any depth, none included", patterns: []string{"./src/**/*.txt"}, want: "src/ src/a.txt src/x/700 src/x/b.txt src/x/y/ src/x/y/c.txt"},
		{name: "any depth first", patterns: []string{"**/c.*"}, want: "src/ src/x/700 src/x/c.go src/x/y/ src/x/y/c.txt"},
		{name: "any depth twice", patterns: []string{"**/**/b.txt"}, want: "src/ src/x/700 src/x/b.txt"},
		{name: "all below", patterns: []string{"a/b2/**"}, want: "a/ a/b2/ a/b2/c/ a/b2/c/d/ a/b2/c/d/e/ a/b2/c/d/e/bar"},
		{name: "no match", patterns: []string{"a/q*/c", "q*/./a", "src/./q*"}, want: ""},
		{name: "an empty directory", patterns: []string{"empty"}, want: "empty/"},
		{name: "an escape", patterns: []string{"[[]x]/f"}, want: "[x]/ [x]/f"},
		{name: "a link itself", patterns: []string{"in/l"}, want: "in/ in/l"},
		{name: "a pattern does not follow links", patterns: []string{"l*/c/d/foo", "in/*/b/c/d/foo"}, want: ""},
		{name: "a link before the pivot", patterns: []string{"l/./c/d/foo"}, want: "c/ c/d/ c/d/foo"},
		{name: "an absolute link before the pivot", patterns: []string{"abs/./d/foo"}, want: "d/ d/foo"},
		{name: "dots stay inside", patterns: []string{"../../src/./../top"}, want: ""},
		{name: "ignored", patterns: []string{"src/**/*.txt"}, ignore: []string{"src/x/y"}, want: "src/ src/a.txt src/x/700 src/x/b.txt"},
		{name: "all ignored but for one", patterns: []string{"src/**/*.txt"}, ignore: []string{"*", "!src/x/b.txt"}, want: "src/ src/x/700 src/x/b.txt"},
		{name: "excluded below the pivot", patterns: []string{"src/./x"}, exclude: []string{"x/*.txt", "**/c.txt"}, want: "x/700 x/c.go x/y/"},
		{name: "excluded names are whole paths", patterns: []string{"src/x"}, exclude: []string{"*.txt", "x"}, want: "src/ src/x/700 src/x/b.txt src/x/c.go src/x/y/ src/x/y/c.txt"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			to := t.TempDir()
			sources := []Tree{{Root: root, Selection: Selection{Patterns: test.patterns, Parents: true, Ignore: test.ignore, Exclude: test.exclude}}}
			sum, err := copyOne(t.Context(), Target{Root: openDir(t, to), Dest: "/out", Owner: IDs{os.Getuid(), os.Getgid()}}, newAhead(nil), &sources[0])
			if test.name == "dots stay inside" {
				var missing *NotFoundError
				if !errors.As(err, &missing) {
					t.Errorf("error %v, want one that the file is missing", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(filepath.Join(to, "out")); err == nil {
				to = filepath.Join(to, "out")
			}
			if got := list(t, to); got != test.want {
				t.Errorf("copied  %s\nwant    %s", got, test.want)
			}
			again, err := Digest(t.Context(), sources[0])
			if err != nil || again != sum {
				t.Errorf("digest %s and %s, %v", sum, again, err)
			}
		})
	}
}

func TestParentsFaults(t *testing.T) {
	root := makeTree(t, "a/f l->a")
	var missing *NotFoundError
	var invalid *InvalidError
	tests := []struct {
		pattern string
		want    any
	}{
		{"nope", &missing}, {"a/nope", &missing}, {"nope/./f", &missing}, {"a/f/./g", &missing}, {"a/f/g", &missing},
		{"l/f", &missing}, {"a/[", &invalid}, {"[/./a", &invalid},
	}
	for _, test := range tests {
		_, err := Digest(t.Context(), Tree{Root: root, Selection: Selection{Patterns: []string{test.pattern}, Parents: true}})
		if !errors.As(err, test.want) {
			t.Errorf("%s: error %v, want a %T", test.pattern, err, test.want)
		}
	}
	_, err := Digest(t.Context(), Tree{Root: root, Selection: Selection{Patterns: []string{"a/f"}, Parents: true, Ignore: []string{"a"}}})
	if !errors.As(err, &missing) {
		t.Errorf("ignored: error %v", err)
	}
}

// FuzzParents looks for patterns that panic, leave the root or select what Digest and
// Copy see differently.
func FuzzParents(f *testing.F) {
	for _, seed := range []string{"a/b", "a/./b/**", "**/c", "../..", "/./", "**/**/**/c", "a/*/[a-c]", `\*/./x`, "l/./b"} {
		f.Add(seed)
	}
	root := makeTree(f, "a/b/c a/b/d/c l->a up->../.. x/*")
	f.Fuzz(func(t *testing.T, pattern string) {
		sources := []Tree{{Root: root, Selection: Selection{Patterns: []string{pattern}, Parents: true}}}
		sum, err := Digest(t.Context(), sources[0])
		to := t.TempDir()
		copied, copyErr := copyOne(t.Context(), Target{Root: openDir(t, to), Dest: "/", Owner: IDs{os.Getuid(), os.Getgid()}}, newAhead(nil), &sources[0])
		if (err == nil) != (copyErr == nil) || sum != copied {
			t.Errorf("digest %q, %v; copy %q, %v", sum, err, copied, copyErr)
		}
		for name := range strings.FieldsSeq(list(t, to)) {
			if !slices.Contains([]string{"a", "b", "c", "d", "l", "up", "x", "*"}, filepath.Base(name)) {
				t.Errorf("copied %s, which is not in the root", name)
			}
		}
	})
}
