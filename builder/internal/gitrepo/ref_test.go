package gitrepo

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func yes(b bool) *bool { return &b }

func TestParse(t *testing.T) {
	commit := strings.Repeat("0123456789", 4)
	for _, test := range []struct {
		text string
		is   bool
		want Ref
	}{
		{"https://example.com/a/b.git", true, Ref{Remote: "https://example.com/a/b.git"}},
		{"https://example.com/a/b.git#main", true, Ref{Remote: "https://example.com/a/b.git", Name: "main"}},
		{"https://example.com/b.git#main:docs/x", true, Ref{Remote: "https://example.com/b.git", Name: "main", Subdir: "docs/x"}},
		{"http://example.com:80/b.git#:docs", true, Ref{Remote: "http://example.com:80/b.git", Subdir: "docs"}},
		{"https://example.com/b.git#refs/pull/1/head", true, Ref{Remote: "https://example.com/b.git", Name: "refs/pull/1/head"}},
		{"https://example.com/b.git#" + commit, true, Ref{Remote: "https://example.com/b.git", Name: commit}},
		{"git://example.com/b", true, Ref{Remote: "git://example.com/b"}},
		{"ssh://git@example.com:2222/b#v1", true, Ref{Remote: "ssh://git@example.com:2222/b", Name: "v1"}},
		{"git@example.com:a/b.git#v1:d", true, Ref{Remote: "git@example.com:a/b.git", Name: "v1", Subdir: "d"}},
		{"git@example.com:b?tag=v1", true, Ref{Remote: "git@example.com:b", Name: "refs/tags/v1"}},
		{"github.com/a/b", false, Ref{Remote: "https://github.com/a/b"}},
		{"github.com/a/b#main:d", false, Ref{Remote: "https://github.com/a/b", Name: "main", Subdir: "d"}},
		{"https://example.com/b.git?ref=main&subdir=/d/", true, Ref{Remote: "https://example.com/b.git", Name: "main", Subdir: "d"}},
		{"https://example.com/b.git?branch=main", true, Ref{Remote: "https://example.com/b.git", Name: "refs/heads/main"}},
		{"https://example.com/b.git?tag=refs/tags/v1#refs/tags/v1", true, Ref{Remote: "https://example.com/b.git", Name: "refs/tags/v1"}},
		{"https://example.com/b.git?keep-git-dir&submodules=false&mtime=commit", true,
			Ref{Remote: "https://example.com/b.git", KeepGitDir: yes(true), SkipSubmodules: true, CommitTime: true}},
		{"https://example.com/b.git?keep-git-dir=0&submodules=1&mtime=checkout", true, Ref{Remote: "https://example.com/b.git", KeepGitDir: yes(false)}},
		{"https://example.com/b.git?checksum=abcdef0&commit=abcdef0", true, Ref{Remote: "https://example.com/b.git", Checksum: "abcdef0"}},
		{"https://example.com/b.git?fetch-by-commit=true&checksum=" + commit, true, Ref{Remote: "https://example.com/b.git", Checksum: commit, ByCommit: true}},
		// What leaves the repository does not: it is cut off at its root.
		{"https://example.com/b.git#main:../../escape", true, Ref{Remote: "https://example.com/b.git", Name: "main", Subdir: "escape"}},
		{"https://example.com/b.git#main:/abs", true, Ref{Remote: "https://example.com/b.git", Name: "main", Subdir: "abs"}},
		{"https://example.com/b.git#main:dir/../../x", true, Ref{Remote: "https://example.com/b.git", Name: "main", Subdir: "x"}},
	} {
		got, err := Parse(test.text)
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
		} else if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", test.text, got, test.want)
		}
		if Is(test.text) != test.is {
			t.Errorf("Is(%s) = %t", test.text, !test.is)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{
		"", "b.git", "./b.git", "/b.git", "-x", "file:///etc", "ext::sh -c id", "ext://sh -c id", "ftp://example.com/b.git",
		"https:///b.git", "https://-x/b.git", "ssh://-oProxyCommand=id/b", "ssh://-x@example.com/b", "git@example.com:-x", "git@example.com:", "-x@example.com:b",
		"https://example.com/b.git#--upload-pack=/tmp/evil.sh", "https://example.com/b.git?ref=--upload-pack=x", "https://example.com/b.git#+main",
		"https://example.com/b.git?ref=a:b", "https://example.com/b.git#a..b", "https://example.com/b.git#a b", "https://example.com/b.git#a*", "https://example.com/b.git#@{1}",
		"https://example.com/b.git#/main", "https://example.com/b.git#main/", "https://example.com/b.git\n#main", "https://example.com/b.git#" + strings.Repeat("a", 2000),
		"https://example.com/b.git?ref=a#b", "https://example.com/b.git?ref=a&ref=b", "https://example.com/b.git?ref=", "https://example.com/b.git?x=y",
		"https://example.com/b.git?tag=a&branch=b", "https://example.com/b.git?submodules=maybe", "https://example.com/b.git?mtime=now",
		"https://example.com/b.git?checksum=xyz", "https://example.com/b.git?checksum=", "https://example.com/b.git?checksum=abcdef0&fetch-by-commit", "https://example.com/b.git?%zz",
	} {
		got, err := Parse(text)
		var bad *RefError
		if !errors.As(err, &bad) {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
	}
}

func TestIsNot(t *testing.T) {
	for _, text := range []string{
		"", "b.git", "dir", "./git@x:y", "https://example.com/f", "https://example.com/f.git.txt", "https://example.com/b.git/f",
		"ftp://example.com/b.git", "ext::sh", "a@b", "-a@b:c", "C:\\x", "name.git:x",
	} {
		if Is(text) {
			t.Errorf("Is(%q)", text)
		}
	}
}

func TestCredentialsAreHidden(t *testing.T) {
	for text, want := range map[string]string{
		"https://u:TOK@example.com/b.git": "https://example.com/b.git",
		"https://TOK@example.com/b.git":   "https://example.com/b.git",
		"ssh://git@example.com/b.git":     "ssh://git@example.com/b.git",
		"git@example.com:b.git":           "git@example.com:b.git",
	} {
		ref, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := ref.Public(); got != want {
			t.Errorf("%s: shown as %s", text, got)
		}
	}
	if _, err := Parse("https://u:TOK@exa mple.com/b.git"); err == nil || strings.Contains(err.Error(), "TOK") {
		t.Errorf("got %v", err)
	}
}

// FuzzParse looks for references that crash the parser, or that git would take for
// something else than a remote, a ref and a directory inside the repository.
func FuzzParse(f *testing.F) {
	f.Add("https://u:p@example.com/b.git?ref=main&subdir=d&keep-git-dir=1#main:d")
	f.Add("git@example.com:a/b.git?checksum=abcdef0#v1:../x")
	f.Add("ssh://git@[::1]:22/b#-x")
	f.Fuzz(func(t *testing.T, text string) {
		Is(text)
		r, err := Parse(text)
		if err != nil {
			return
		}
		for _, word := range []string{r.Remote, r.Public(), r.Name, r.Subdir, r.Checksum} {
			if strings.HasPrefix(word, "-") && word != r.Subdir || strings.ContainsAny(word, "\x00\n") {
				t.Fatalf("%q gives the word %q", text, word)
			}
		}
		for part := range strings.SplitSeq(r.Subdir, "/") {
			if part == ".." || part == "." {
				t.Fatalf("%q leaves the repository by %q", text, r.Subdir)
			}
		}
		if strings.Contains(r.Name, ":") {
			t.Fatalf("%q gives a refspec, %q", text, r.Name)
		}
		if s := r.Secret(); s != "" && strings.Contains(r.Public(), s+"@") {
			t.Fatalf("%q shows its credentials in %q", text, r.Public())
		}
	})
}
