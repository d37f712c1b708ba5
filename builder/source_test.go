//go:build linux

package builder

import (
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// Every method of a Source on every kind of it, before and after one that always has a meaning.
func TestModifiersOfSources(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	sources := map[sourceKind]struct {
		source Source
		label  string
	}{
		dirSource:   {Dir("some dir"), `Dir("some dir")`},
		fsSource:    {FS(fstest.MapFS{}), "FS"},
		bytesSource: {Bytes("motd", nil), `Bytes("motd")`},
		tarSource:   {Tar(strings.NewReader("")), "Tar"},
		stageSource: {(&Stage{}).Path(), "Path"},
		imageSource: {ImageFiles("busybox"), `ImageFiles("busybox")`},
		urlSource:   {URL("https://user:" + secret + "@example.org/f"), `URL("https://`},
		gitSource:   {Git("https://user:" + secret + "@example.org/r.git"), `Git("https://`},
	}
	const ofTrees = "Dir FS Tar Path ImageFiles Git"
	const ofAll = ofTrees + " Bytes URL"
	methods := map[string]struct {
		call func(Source) Source
		of   string
	}{
		"Select":        {func(s Source) Source { return s.Select("a") }, ofTrees},
		"Parents":       {Source.Parents, ofTrees},
		"Ignore":        {func(s Source) Source { return s.Ignore("a") }, ofTrees},
		"Exclude":       {func(s Source) Source { return s.Exclude("a") }, ofTrees},
		"Chown":         {func(s Source) Source { return s.Chown("a") }, ofAll},
		"Chmod":         {func(s Source) Source { return s.Chmod("7") }, ofAll},
		"Under":         {func(s Source) Source { return s.Under("a") }, ofAll},
		"OwnedByRoot":   {Source.OwnedByRoot, "Path ImageFiles"},
		"Platform":      {func(s Source) Source { return s.Platform("linux/arm64") }, "ImageFiles"},
		"Pull":          {func(s Source) Source { return s.Pull("never") }, "ImageFiles"},
		"KeepGitDir":    {func(s Source) Source { return s.KeepGitDir(false) }, "Git"},
		"CommitTimes":   {Source.CommitTimes, "Git"},
		"Agent":         {func(s Source) Source { return s.Agent("") }, "Git"},
		"Checksum":      {func(s Source) Source { return s.Checksum("") }, "Git URL"},
		"Authorization": {func(s Source) Source { return s.Authorization("a") }, "Git URL"},
		"Unpack":        {Source.Unpack, "URL"},
	}
	for i := range reflect.TypeFor[Source]().NumMethod() {
		if name := reflect.TypeFor[Source]().Method(i).Name; methods[name].call == nil {
			t.Errorf("it is not said for which sources %s has a meaning", name)
		}
	}
	table := sourceTable(t)
	for kind, s := range sources {
		for name, m := range methods {
			if documented := table[name][kind]; documented != strings.Contains(" "+m.of+" ", " "+string(kind)+" ") {
				t.Errorf("the table says of %s and %s: %t", name, kind, documented)
			}
			allowed := strings.Contains(" "+m.of+" ", " "+string(kind)+" ")
			for order, changed := range []Source{m.call(s.source).Chown("b"), m.call(s.source.Chown("b"))} {
				switch {
				case allowed && changed.err == nil:
				case allowed:
					t.Errorf("%s of %s: %v", name, kind, changed.err)
				case !errors.Is(changed.err, ErrInvalid), !strings.Contains(changed.err.Error(), name+" has no meaning for "+s.label), strings.Contains(changed.err.Error(), secret):
					t.Errorf("%s of %s, in the order %d: %v", name, kind, order, changed.err)
				case !reflect.DeepEqual(changed.taken, s.source.Chown("b").taken):
					t.Errorf("%s of %s has changed it", name, kind)
				}
			}
		}
	}
	// The first one is told of.
	if err := Dir("x").Agent("").Select("a").Unpack().err; !strings.Contains(err.Error(), `Agent has no meaning for Dir("x"), only for Git`) {
		t.Error(err)
	}
	for _, zero := range []Source{{}, Dir(""), FS(nil), Tar(nil), URL(""), Git("")} {
		if !reflect.DeepEqual(zero, Source{}) || zero.Checksum("").err != nil {
			t.Errorf("%+v is not the zero Source", zero)
		}
	}
}

// sourceTable reads the table in the comment of Source.
func sourceTable(t *testing.T) map[string]map[sourceKind]bool {
	t.Helper()
	text, err := os.ReadFile("source.go")
	if err != nil {
		t.Fatal(err)
	}
	_, rows, _ := strings.Cut(string(text), "with an error that matches ErrInvalid:\n//\n")
	rows, _, _ = strings.Cut(rows, "type Source")
	lines := strings.Split(strings.TrimSpace(rows), "\n")
	table := map[string]map[sourceKind]bool{}
	for _, row := range lines[1:] {
		words := strings.Fields(strings.ReplaceAll(strings.TrimPrefix(row, "//"), ",", ""))
		for _, name := range slices.DeleteFunc(words, func(word string) bool { return word == "x" }) {
			table[name] = map[sourceKind]bool{}
			for i, mark := range row {
				if mark == 'x' && row[i-1] == ' ' {
					// The column's heading is around the mark.
					start := strings.LastIndex(lines[0][:i+1], " ") + 1
					heading, _, _ := strings.Cut(lines[0][start:], " ")
					table[name][sourceKind(heading)] = true
				}
			}
		}
	}
	return table
}
