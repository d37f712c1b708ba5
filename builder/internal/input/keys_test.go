//go:build linux

package input

import (
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder/internal/filecopy"
	"github.com/oakum-build/oakum/builder/internal/step"
	. "github.com/oakum-build/oakum/builder/internal/step/keytest"
)

const (
	isContent = "the files that it leads to are the content, wherever they come from"
	isSecret  = "it is a secret, and the same files come without it"
)

// What is in the key of a copy of a source, and of what is fetched and read for it. A field that
// is not listed fails.
func TestKeys(t *testing.T) {
	t.Parallel()
	copied := func(src Source) string {
		return step.Sum("", step.CopyKey{Sources: []step.SourceKey{(&Input{src: src}).Key()}})
	}
	Fields(t, Source{Stage: "s"}, copied, map[string]string{
		"Dir": isContent, "Stage": isContent, "Image": isContent,
		"Stream":    InKey, // that its times count, or that it keeps directories: see below
		"URL":       InKey, // that its times count
		"Git":       InKey, // the same
		"Selection": InKey,
		"Rooted":    InKey, // as KeepOwner
		"Chown":     InKey, "Chmod": InKey, "Packed": InKey,
		"Shown": "a mount is no copy, and what it reads of a directory is in its content",
	})
	Fields(t, filecopy.Selection{}, func(sel filecopy.Selection) string { return copied(Source{Dir: "/d", Selection: sel}) }, map[string]string{
		"Patterns": InKey, "Parents": InKey, "Exclude": InKey,
		"Ignore": "what it leaves out is not in the content",
	})
	Fields(t, Stream{File: 1}, func(s Stream) string { return copied(Source{Stream: &s}) }, map[string]string{
		"File": isContent, "Foreign": InKey, // as Timed and KeepDirs
	})
	Fields(t, URL{URL: "https://h/f"}, func(u URL) string { return step.Sum("", urlKey(u)) }, map[string]string{
		"URL":           InKey,
		"Checksum":      "it is compared with what is there or comes, and of the same file there may be one or none",
		"Authorization": isSecret,
	})
	fetched := func(g Git) string {
		ref, keep, err := gitRef(g)
		if err != nil {
			t.Fatal(err)
		}
		return step.Sum("", gitKey(ref, keep))
	}
	Fields(t, Git{Ref: "https://h/r.git"}, func(g Git) string {
		if g.Checksum != "" {
			g.Checksum = "abcdef0"
		}
		return fetched(g)
	}, map[string]string{
		"Ref": InKey, "CommitTimes": InKey, "KeepGitDir": InKey,
		"Checksum":      "it is compared with the commit, which is the content",
		"Authorization": isSecret, "Agent": isSecret,
	})
	keys := map[string]bool{}
	for _, ref := range []string{"https://h/r.git", "https://h/r.git?subdir=d", "https://h/r.git?submodules=false", "https://h/r.git?keep-git-dir=true", "https://h/r.git?mtime=commit"} {
		keys[fetched(Git{Ref: ref})] = true
	}
	if len(keys) != 5 {
		t.Errorf("%d keys of 5 references", len(keys))
	}
	if fetched(Git{Ref: "https://h/r.git#main"}) != fetched(Git{Ref: "https://h/r.git#dev"}) {
		t.Error("the commit is the content, and the branch is in the key")
	}
	const secret = "u:geheim@"
	ref, keep, err := gitRef(Git{Ref: "https://" + secret + "h/r.git"})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{urlKey(URL{URL: "https://" + secret + "h/f"}).URL, gitKey(ref, keep).Remote} {
		if strings.Contains(name, "geheim") {
			t.Errorf("the password is in the key: %s", name)
		}
	}
	read := func(src Source) string { return step.Sum("", readKey(&src)) }
	Fields(t, Source{Stage: "s"}, read, map[string]string{
		"Dir": "nothing is remembered of it", "Stage": "its layer is below in the key", "Image": "its layer is below in the key",
		"Stream": InKey, "URL": InKey, "Git": InKey, // as Timed
		"Selection": InKey, "Rooted": InKey,
		"Chown":  InKey, // owners that are replaced are not read
		"Chmod":  "modes are read all the same",
		"Packed": "what an archive is unpacked to is not read",
		"Shown":  InKey,
	})
	Fields(t, filecopy.Selection{}, func(sel filecopy.Selection) string { return read(Source{Stage: "s", Selection: sel}) }, map[string]string{
		"Patterns": InKey, "Parents": InKey, "Exclude": InKey, "Ignore": InKey,
	})
}
