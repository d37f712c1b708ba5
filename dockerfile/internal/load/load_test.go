package load

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestFindDockerfile(t *testing.T) {
	dir := t.TempDir()
	for i := len(defaultNames) - 1; i >= 0; i-- {
		writeFile(t, filepath.Join(dir, defaultNames[i]), "FROM base\n")
		if got, _, err := (Tree{Dir: dir}).dockerfile(t.Context(), ""); got != defaultNames[i] || err != nil {
			t.Errorf("found %q, %v; want %q", got, err, defaultNames[i])
		}
	}
	if err := os.Remove(filepath.Join(dir, "Dockerfile")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "Dockerfile"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got, _, err := (Tree{Dir: dir}).dockerfile(t.Context(), ""); got != "dockerfile" || err != nil {
		t.Errorf("found %q, %v beside a directory", got, err)
	}
}

func TestIgnoreFileOfTheDockerfile(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	file := filepath.Join(out, "my.Dockerfile")
	writeFile(t, filepath.Join(dir, ".dockerignore"), "general\n")
	writeFile(t, file, "FROM base\n")
	loaded, err := (Loader{}).Load(t.Context(), Context{Dir: dir}, File{Path: file})
	if err != nil || len(loaded.Context.Ignore) != 1 || loaded.Context.Ignore[0] != "general" || loaded.Name != file {
		t.Errorf("loaded %+v, %v", loaded, err)
	}
	writeFile(t, file+".dockerignore", "\ufeffspecial\n\n# c\n")
	if loaded, err = (Loader{}).Load(t.Context(), Context{Dir: dir}, File{Path: file}); err != nil || len(loaded.Context.Ignore) != 1 || loaded.Context.Ignore[0] != "special" {
		t.Errorf("loaded %+v, %v", loaded, err)
	}
	writeFile(t, file+".dockerignore", "")
	if loaded, err = (Loader{}).Load(t.Context(), Context{Dir: dir}, File{Path: file}); err != nil || len(loaded.Context.Ignore) != 0 {
		t.Errorf("loaded %+v, %v", loaded, err)
	}
}

// TestIgnoreFiles: which ignore file is read.
func TestIgnoreFiles(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "df")
	writeFile(t, file, "FROM base\n")
	from := Context{Dir: dir}
	for _, name := range []string{".dockerignore", ".containerignore", "df.dockerignore", "df.containerignore", "other"} {
		writeFile(t, filepath.Join(dir, name), name+"\n")
		if name == "other" {
			from.IgnoreFile = filepath.Join(dir, name)
		}
		loaded, err := (Loader{}).Load(t.Context(), from, File{Path: file})
		if err != nil || len(loaded.Context.Ignore) != 1 || loaded.Context.Ignore[0] != name {
			t.Errorf("read %+v, %v; want %s", loaded, err, name)
		}
	}
	from.IgnoreFile = filepath.Join(dir, "none")
	if _, err := (Loader{}).Load(t.Context(), from, File{Path: file}); err == nil {
		t.Error("a missing ignore file is no error")
	}
}

// TestFile: a line of several files is in the one that has it.
func TestFile(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	writeFile(t, file("one"), "# escape=`\nFROM base AS a\nRUN a") // without a newline
	writeFile(t, file("two"), "\ufeff# escape=`\nFROM a\nRUN b `\n c\n")
	writeFile(t, file("three"), "RUN d\nCOPY --from=nowhere a b\n")
	more := File{Path: file("one"), More: []string{file("two"), file("three")}}
	loaded, err := (Loader{}).Load(t.Context(), Context{Dir: dir}, more)
	if err != nil {
		t.Fatal(err)
	}
	for line, want := range map[int]string{0: "one", 1: "one", 3: "one", 4: "two", 7: "two", 8: "three", 9: "three", 99: "three"} {
		if got, _, _ := loaded.File(line); got != file(want) {
			t.Errorf("line %d is in %s, want %s", line, got, want)
		}
	}
	writeFile(t, file("four"), "# escape=\\\nRUN x\n")
	more.More = []string{file("four")}
	if _, err := (Loader{}).Load(t.Context(), Context{Dir: dir}, more); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("another escape: %v", err)
	}
	more.More = []string{file("five")}
	if _, err := (Loader{}).Load(t.Context(), Context{Dir: dir}, more); err == nil {
		t.Error("a missing file is no error")
	}
}

// Long ignore files of simple patterns are taken.
func TestManyPatterns(t *testing.T) {
	text := strings.Repeat("**/node_modules\n!a/b/**\n**/*.pyc\n# c\n", 900)
	if patterns, err := parseIgnore(".dockerignore", []byte(text)); err != nil || len(patterns) != 2700 {
		t.Errorf("%d patterns, %v", len(patterns), err)
	}
}
