// Package gitrepo reads references to git repositories as build contexts and ADD write
// them, and fetches what they name with the git program.
//
// A repository is hostile: git runs without any configuration but our own, with the
// protocols that a reference can name and no others, and nothing that the repository or
// the reference says becomes an option, a hook or a path outside the checkout.
package gitrepo

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/storage/retry"
)

// Ref is a reference to a repository, in the syntax of the Dockerfile reference (ADD)
// and of BuildKit's contexts: REMOTE[?QUERY][#REF[:SUBDIR]].
type Ref struct {
	Remote   string // for git; it may hold credentials
	Name     string // a branch, a tag, a full ref name or a commit; "" is the remote's HEAD
	Subdir   string // clean and relative; "" is the root
	Checksum string // hex digits with which the commit must begin; "" is any commit
	// KeepGitDir is nil when the reference does not say.
	KeepGitDir     *bool
	SkipSubmodules bool
	// CommitTime sets the files' times to the commit's.
	CommitTime bool
	// ByCommit fetches Checksum without asking whether Name still is that commit.
	ByCommit bool
	// Authorization, when not "", is the header of that name for an http or https remote.
	Authorization string
	// location is where redirects lead from the remote; "" without any
	location string
	// Retry is for what fails on the way to the remote.
	Retry retry.Policy
	// Longest bounds each git command; 0 is an hour.
	Longest time.Duration
	// Agent, when not "", is the socket of the agent that ssh goes by.
	Agent string
}

// RefError is a reference that cannot be.
type RefError struct{ Why string }

func (e *RefError) Error() string { return "git reference: " + e.Why }

// Unwrap gives errdefs.ErrInvalid.
func (e *RefError) Unwrap() error { return errdefs.ErrInvalid }

func bad(format string, args ...any) error { return &RefError{fmt.Sprintf(format, args...)} }

var (
	scheme = lazy(`^([A-Za-z][A-Za-z0-9+.-]*)://`)
	scp    = lazy(`^([A-Za-z0-9_][A-Za-z0-9_.-]*)@([A-Za-z0-9][A-Za-z0-9.-]*):([^?#]*)(?:\?([^#]*))?(?:#(.*))?$`)
	// gitHost is the shorthand of build contexts: github.com/owner/repo.
	gitHost = "github.com/"
)

// Is says whether a text names a repository, and not a path or a file to download:
// git:// and ssh:// URLs, http and https URLs whose path ends in .git, and
// user@host:path.
func Is(text string) bool {
	if !strings.Contains(text, ":") { // most are names of files
		return false
	}
	m := scheme().FindStringSubmatch(text)
	if m == nil {
		return scp().MatchString(text)
	}
	switch strings.ToLower(m[1]) {
	case "git", "ssh":
		return true
	case "http", "https":
		p, _, _ := strings.Cut(text, "#")
		p, _, _ = strings.Cut(p, "?")
		return strings.HasSuffix(p, ".git")
	}
	return false
}

// Parse reads a reference, also one of the form github.com/owner/repo. The error is a
// *RefError.
func Parse(text string) (Ref, error) {
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return Ref{}, bad("a control character")
	}
	if m := scp().FindStringSubmatch(text); m != nil && !scheme().MatchString(text) {
		if m[3] == "" || m[3][0] == '-' {
			return Ref{}, bad("the path %q", m[3])
		}
		return complete(Ref{Remote: m[1] + "@" + m[2] + ":" + m[3]}, m[4], m[5])
	}
	if strings.HasPrefix(text, gitHost) {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return Ref{}, bad("not a URL") // the error would show credentials
	}
	switch u.Scheme {
	case "http", "https", "git", "ssh":
	default:
		return Ref{}, bad("the protocol %q is not one of https, http, git and ssh", u.Scheme)
	}
	if u.Hostname() == "" || u.Hostname()[0] == '-' || strings.HasPrefix(u.User.Username(), "-") {
		return Ref{}, bad("no host, or one that begins with a dash")
	}
	query, fragment := u.RawQuery, u.Fragment
	u.RawQuery, u.ForceQuery, u.Fragment, u.RawFragment = "", false, "", ""
	return complete(Ref{Remote: u.String()}, query, fragment)
}

// complete reads the query and the fragment.
func complete(r Ref, query, fragment string) (Ref, error) {
	name, subdir, _ := strings.Cut(fragment, ":")
	r.Name = name
	values, err := url.ParseQuery(query)
	if err != nil {
		return Ref{}, bad("the query cannot be read")
	}
	for key, all := range values {
		if len(all) > 1 {
			return Ref{}, bad("the query has several values for %s", key)
		}
		if err := r.set(key, all[0], &subdir); err != nil {
			return Ref{}, err
		}
	}
	if values.Has("tag") && values.Has("branch") {
		return Ref{}, bad("the query has both a branch and a tag")
	}
	r.Subdir = strings.TrimPrefix(path.Clean("/"+subdir), "/")
	return r, r.check()
}

// set does one key of the query.
func (r *Ref) set(key, value string, subdir *string) error {
	switch key {
	case "keep-git-dir", "submodules", "fetch-by-commit":
		if value == "" {
			value = "true"
		}
		on, err := strconv.ParseBool(value)
		if err != nil {
			return bad("%s=%s is neither true nor false", key, value)
		}
		switch key {
		case "keep-git-dir":
			r.KeepGitDir = &on
		case "submodules":
			r.SkipSubmodules = !on
		default:
			r.ByCommit = on
		}
		return nil
	}
	if value == "" {
		return bad("the query's %s has no value", key)
	}
	switch key {
	case "ref":
		return same(&r.Name, value, key)
	case "tag":
		return same(&r.Name, "refs/tags/"+strings.TrimPrefix(value, "refs/tags/"), key)
	case "branch":
		return same(&r.Name, "refs/heads/"+strings.TrimPrefix(value, "refs/heads/"), key)
	case "subdir":
		return same(subdir, value, key)
	case "checksum", "commit":
		return same(&r.Checksum, value, key)
	case "mtime":
		if value != "commit" && value != "checkout" {
			return bad("mtime=%s is neither checkout nor commit", value)
		}
		r.CommitTime = value == "commit"
		return nil
	}
	return bad("the query's %q is unknown", key)
}

// same sets what may be said twice, but not differently.
func same(to *string, value, key string) error {
	if *to != "" && *to != value {
		return bad("%s is both %q and %q", key, *to, value)
	}
	*to = value
	return nil
}

// maxName bounds the names that go into commands.
const maxName = 1024

var (
	hex    = lazy(`^[0-9a-f]{7,64}$`)
	prefix = lazy(`^[0-9a-f]{1,64}$`) // Dockerfile reference, ADD --checksum
	commit = lazy(`^(?:[0-9a-f]{40}|[0-9a-f]{64})$`)
	// badName is what no ref's name has (git check-ref-format), and what would make a
	// refspec of it.
	badName = lazy(`[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|^[-+/]|/$|//`)
)

// CheckSum gives an error for a checksum that is not the beginning of a commit's id.
func CheckSum(sum string) error {
	if sum != "" && !prefix().MatchString(sum) {
		return bad("the checksum %q is not a commit's id of up to 64 hex digits", sum)
	}
	return nil
}

func (r Ref) check() error {
	if badName().MatchString(r.Name) || len(r.Name) > maxName {
		return bad("%q cannot be the name of a branch, tag or commit", r.Name)
	}
	if len(r.Subdir) > 4096 {
		return bad("the directory's name is too long")
	}
	if r.ByCommit && !commit().MatchString(r.Checksum) {
		return bad("fetch-by-commit needs a checksum that is a whole commit id")
	}
	return CheckSum(r.Checksum)
}

// Secret gives the credentials that the remote holds, which must not be shown.
func (r Ref) Secret() string {
	u, err := url.Parse(r.Remote)
	if err != nil || u.User == nil {
		return ""
	}
	if _, has := u.User.Password(); !has && u.Scheme == "ssh" {
		return "" // a user's name alone is no secret there
	}
	return u.User.String()
}

// Public is the remote without credentials.
func (r Ref) Public() string {
	if secret := r.Secret(); secret != "" {
		return strings.Replace(r.Remote, secret+"@", "", 1)
	}
	return r.Remote
}

// lazy compiles a pattern when it is first needed. Programs that link the package are started
// often, as the worker and for commands, and seldom need any.
func lazy(pattern string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(pattern) })
}
