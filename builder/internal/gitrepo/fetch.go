//go:build linux

package gitrepo

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/oakum-build/oakum/builder/internal/download"
	"github.com/oakum-build/oakum/builder/internal/errdefs"
)

// Error is a repository that could not be fetched.
type Error struct {
	Remote string // without credentials
	Why    string
}

func (e *Error) Error() string { return e.Remote + ": " + e.Why }

// Unwrap gives errdefs.ErrFetch.
func (e *Error) Unwrap() error { return errdefs.ErrFetch }

func (r Ref) fail(format string, args ...any) error {
	return &Error{r.Public(), fmt.Sprintf(format, args...)}
}

// Found is what a reference stands for.
type Found struct {
	Commit string
	Name   string // the full name of its ref; "" for a commit
}

// Resolve asks the remote which commit a reference stands for now. Of a branch and a
// tag of the same name, the branch is meant.
func (r Ref) Resolve(ctx context.Context) (Found, error) {
	var found Found
	switch {
	case r.ByCommit:
		found = Found{Commit: r.Checksum}
	case commit().MatchString(r.Name):
		found = Found{Commit: r.Name}
	default:
		var err error
		if found, err = r.lookup(ctx); err != nil {
			return found, err
		}
	}
	if !strings.HasPrefix(found.Commit, r.Checksum) {
		return found, r.fail("the commit is %s, not that of the checksum %s", found.Commit, r.Checksum)
	}
	return found, nil
}

func (r Ref) lookup(ctx context.Context) (Found, error) {
	names := []string{r.Name, "refs/heads/" + r.Name, "refs/tags/" + r.Name, "refs/" + r.Name}
	if r.Name == "" {
		names = []string{"HEAD"}
	}
	args := []string{"ls-remote", "--quiet", "--", r.Public()}
	for _, name := range names {
		args = append(args, name, name+"^{}") // the second is the commit of an annotated tag
	}
	out, err := r.git(ctx, "", args...)
	if err != nil {
		return Found{}, err
	}
	ids := map[string]string{}
	for line := range strings.Lines(out) {
		id, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if ok && commit().MatchString(id) {
			ids[name] = id
		}
	}
	for _, name := range names {
		if id := ids[name+"^{}"]; id != "" {
			return Found{id, name}, nil
		}
		if id := ids[name]; id != "" {
			return Found{id, name}, nil
		}
	}
	if r.Name == "" {
		return Found{}, r.fail("the repository has no HEAD")
	}
	if hex().MatchString(r.Name) {
		return Found{}, r.fail("no branch or tag %q; a commit's id must be given whole", r.Name)
	}
	return Found{}, r.fail("no branch, tag or commit %q", r.Name)
}

// Checkout fetches a commit and leaves its files, or those of the reference's directory,
// in dir. work is an empty directory of the same file system. The .git directory is
// kept only when keep says so and the whole tree is wanted.
func (r Ref) Checkout(ctx context.Context, found Found, keep bool, work, dir string) error {
	tree := filepath.Join(work, "tree")
	init := []string{"init", "--quiet", "--template=", "--initial-branch=main"}
	if len(found.Commit) == 64 {
		init = append(init, "--object-format=sha256")
	}
	if _, err := r.git(ctx, "", append(init, "--", tree)...); err != nil {
		return err
	}
	if _, err := r.git(ctx, tree, "remote", "add", "--", "origin", r.Public()); err != nil {
		return err
	}
	if err := r.fetch(ctx, tree, found); err != nil {
		return err
	}
	if _, err := r.git(ctx, tree, "checkout", "--quiet", "--force", "--detach", found.Commit); err != nil {
		return err
	}
	if _, err := os.Lstat(filepath.Join(tree, ".gitmodules")); err == nil && !r.SkipSubmodules {
		if err := r.submodules(ctx, tree); err != nil {
			return err
		}
	}
	if err := r.tidy(ctx, tree, found, keep); err != nil {
		return err
	}
	return r.move(tree, dir)
}

// fetch gets the commit alone where the server allows it, else all that leads to it.
func (r Ref) fetch(ctx context.Context, tree string, found Found) error {
	want := found.Name
	if want == "" {
		want = found.Commit
	}
	get := func(args ...string) error {
		_, err := r.git(ctx, tree, append([]string{"fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", "--no-auto-gc"}, args...)...)
		if err == nil {
			_, err = r.git(ctx, tree, "cat-file", "-e", found.Commit+"^{commit}")
		}
		return err
	}
	err := get("--depth=1", "--", "origin", want)
	for _, refs := range [][]string{{want}, {"+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"}} {
		if err == nil || ctx.Err() != nil || passing(err) {
			break
		}
		if again := get(append([]string{"--", "origin"}, refs...)...); again == nil {
			return nil
		}
	}
	return err
}

// submodules gets the commits of submodules alone where their servers allow it, as fetch
// does.
func (r Ref) submodules(ctx context.Context, tree string) error {
	update := []string{"submodule", "--quiet", "update", "--init", "--recursive"}
	_, err := r.git(ctx, tree, append(update, "--depth=1")...)
	if err == nil || ctx.Err() != nil || passing(err) {
		return err
	}
	if _, again := r.git(ctx, tree, update...); again == nil {
		return nil
	}
	return err
}

// tidy sets the times that were asked for, and removes what git keeps beside the files.
func (r Ref) tidy(ctx context.Context, tree string, found Found, keep bool) error {
	if r.CommitTime {
		if err := r.setTimes(ctx, tree, found.Commit); err != nil {
			return err
		}
	}
	if keep {
		if strings.HasPrefix(found.Name, "refs/tags/") {
			if _, err := r.git(ctx, tree, "update-ref", found.Name, found.Commit); err != nil {
				return err
			}
		}
		return os.RemoveAll(filepath.Join(tree, ".git", "logs"))
	}
	// No commit can have an entry called .git, so each is git's own.
	return filepath.WalkDir(tree, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != ".git" {
			return err
		}
		if err := os.RemoveAll(path); err != nil || !d.IsDir() {
			return err
		}
		return fs.SkipDir
	})
}

func (r Ref) setTimes(ctx context.Context, tree, commit string) error {
	out, err := r.git(ctx, tree, "show", "--no-patch", "--format=%ct", commit)
	if err != nil {
		return err
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	if err != nil {
		return err
	}
	at := syscall.NsecToTimeval(time.Unix(seconds, 0).UnixNano())
	return filepath.WalkDir(tree, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type() == fs.ModeSymlink {
			return err
		}
		return syscall.Utimes(path, []syscall.Timeval{at, at})
	})
}

// move takes the wanted directory's files to dir. Each component of its path must be a
// directory itself: a link could lead anywhere.
func (r Ref) move(tree, dir string) error {
	from, err := os.OpenRoot(tree)
	if err != nil {
		return err
	}
	defer func() { from.Close() }()
	for part := range strings.SplitSeq(r.Subdir, "/") {
		if part == "" {
			continue
		}
		info, err := from.Lstat(part)
		if err != nil || !info.IsDir() {
			return r.fail("%s is not a directory of the repository", r.Subdir)
		}
		next, err := from.OpenRoot(part)
		if err != nil {
			return err
		}
		from.Close()
		from = next
	}
	top, err := from.Open(".")
	if err != nil {
		return err
	}
	defer top.Close()
	names, err := top.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := os.Rename(filepath.Join(from.Name(), name), filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// config holds for every git process: nothing that a repository or its server says is
// run, and no file of this machine is taken for a repository.
var config = []string{
	"core.hooksPath=/dev/null", "core.fsmonitor=false", "core.attributesFile=/dev/null", "core.excludesFile=/dev/null",
	"protocol.ext.allow=never", "protocol.file.allow=never", "credential.helper=", "gc.auto=0", "maintenance.auto=false",
	"advice.detachedHead=false", "submodule.recurse=false",
}

// passed are the variables of the worker that git and its transports go by.
var passed = []string{
	"PATH", "SSH_AUTH_SOCK", "SSL_CERT_FILE", "SSL_CERT_DIR",
	"http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
}

func environment() []string {
	env := []string{
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_ATTR_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_ALLOW_PROTOCOL=http:https:git:ssh", "GIT_ASKPASS=true", "SSH_ASKPASS=true", "GIT_SSH_VARIANT=ssh",
		"GIT_SSH_COMMAND=" + sshCommand(os.Getenv("HOME")), "GIT_HTTP_LOW_SPEED_LIMIT=1", "GIT_HTTP_LOW_SPEED_TIME=60",
		"HOME=/nonexistent", "LC_ALL=C",
	}
	for _, name := range passed {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	// git, unlike curl, has a variable of its own for one file of authorities.
	if v, ok := os.LookupEnv("SSL_CERT_FILE"); ok {
		env = append(env, "GIT_SSL_CAINFO="+v)
	}
	return env
}

// sshCommand never asks, and goes by the user's known hosts and keys. The worker's user
// has another home than $HOME, so they are named.
func sshCommand(home string) string {
	command := "ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=yes"
	if home == "" || strings.ContainsAny(home, "'\n") {
		return command
	}
	command += " -o 'UserKnownHostsFile=\"" + home + "/.ssh/known_hosts\"'"
	for _, key := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
		command += " -o 'IdentityFile=\"" + home + "/.ssh/" + key + "\"'"
	}
	return command
}

// credentials lets git use those of the reference for its host, and for submodules
// there, and the authorization for the remote itself, without writing them anywhere: not
// into arguments, nor into .git/config.
func (r Ref) credentials() []string {
	u, err := url.Parse(r.Public())
	if err != nil {
		return nil
	}
	var settings [][2]string
	if secret := r.Secret(); secret != "" {
		settings = append(settings, [2]string{"url." + u.Scheme + "://" + secret + "@" + u.Host + "/.insteadOf", u.Scheme + "://" + u.Host + "/"})
	}
	if r.location != "" {
		settings = append(settings, [2]string{"url." + r.location + ".insteadOf", r.Public()})
	}
	if r.authorized() {
		// After a redirect git would send the header to whatever server it led to.
		settings = append(settings,
			[2]string{"http." + r.scope() + ".extraHeader", "Authorization: " + r.Authorization},
			[2]string{"http." + r.scope() + ".followRedirects", "false"})
	}
	env := []string{"GIT_CONFIG_COUNT=" + strconv.Itoa(len(settings))}
	for i, s := range settings {
		env = append(env, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", i, s[0]), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", i, s[1]))
	}
	return env
}

// authorized says that there is an authorization for the remote.
func (r Ref) authorized() bool {
	return r.Authorization != "" && (strings.HasPrefix(r.Remote, "http://") || strings.HasPrefix(r.Remote, "https://"))
}

// Settle follows the redirects of a remote that has an authorization, for git would send
// that to wherever they lead. To another server it does not go.
func (r Ref) Settle(ctx context.Context) Ref {
	const refs = "/info/refs?service=git-upload-pack"
	if !r.authorized() {
		return r
	}
	final, authorized, err := download.Final(ctx, download.Request{URL: r.Public() + refs, Authorization: r.Authorization})
	location, found := strings.CutSuffix(final, refs)
	if err != nil || !found || location == r.Public() {
		return r // git will say what is wrong, if anything is
	}
	r.location = location
	if !authorized {
		r.Authorization = ""
	}
	return r
}

// scope is the beginning of the URLs that the authorization is for: the remote's, and
// all of GitHub's, as in BuildKit, so that submodules there can be had.
func (r Ref) scope() string {
	remote := cmp.Or(r.location, r.Public())
	for _, all := range []string{"https://github.com/", "https://www.github.com/"} {
		if strings.HasPrefix(remote, all) {
			return all
		}
	}
	return remote
}

// transient matches what git says of failures that may pass.
var transient = lazy(`returned error: (?:5\d\d|429|408)|Connection reset|Connection timed out|[Ee]arly EOF|unexpected disconnect|hung up unexpectedly|Empty reply|HTTP/2 stream|transfer closed|Operation timed out`)

// passing says whether it is worth trying again.
func passing(err error) bool {
	var failed *Error
	return errors.As(err, &failed) && transient().MatchString(failed.Why)
}

// git runs git in dir and gives its output, if need be after several tries.
func (r Ref) git(ctx context.Context, dir string, args ...string) (out string, err error) {
	temporary := func(err error) (time.Duration, bool) { return 0, passing(err) }
	err = r.Retry.Do(ctx, "git "+args[0]+" from "+r.Public(), temporary, func() error {
		out, err = r.gitOnce(ctx, dir, args...)
		return err
	})
	return out, err
}

// longest is more than any repository takes that should be part of a build.
const longest = time.Hour

func (r Ref) gitOnce(outer context.Context, dir string, args ...string) (string, error) {
	patience := cmp.Or(r.Longest, longest)
	ctx, cancel := context.WithTimeout(outer, patience)
	defer cancel()
	var all []string
	for _, c := range config {
		all = append(all, "-c", c)
	}
	cmd := exec.CommandContext(ctx, "git", append(all, args...)...)
	cmd.Dir, cmd.Env = dir, append(environment(), r.credentials()...)
	if r.Agent != "" {
		cmd.Env = append(cmd.Env, "SSH_AUTH_SOCK="+r.Agent)
	}
	if dir == "" {
		cmd.Dir = "/"
	}
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &limited{&out}, &limited{&complaint}
	// Its transports are processes of their own, so all of the group ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	switch {
	case err == nil:
		return out.String(), nil
	case outer.Err() != nil:
		return "", outer.Err()
	case ctx.Err() != nil:
		return "", r.fail("git %s has not ended after %v", args[0], patience)
	case errors.Is(err, exec.ErrNotFound):
		return "", r.fail("the git program is needed and not installed")
	}
	return "", r.fail("git %s: %s", args[0], r.complaint(complaint.String(), err))
}

// complaint is what git wrote, without credentials, or else how it ended.
func (r Ref) complaint(text string, err error) string {
	if secret := r.Secret(); secret != "" {
		text = strings.ReplaceAll(text, secret+"@", "")
	}
	text = strings.Join(strings.Fields(download.Hide(text, r.Authorization)), " ")
	switch {
	case r.Authorization != "" && redirected().MatchString(text):
		text += "; the redirect is none of a repository"
	case strings.Contains(text, "Host key verification failed"):
		text += "; a server that you trust is made known by: ssh-keyscan " + r.sshHost() + " >>~/.ssh/known_hosts"
	}
	if text == "" {
		return err.Error()
	}
	return text
}

// sshHost is the host of an ssh remote as ssh-keyscan takes it.
func (r Ref) sshHost() string {
	if m := scp().FindStringSubmatch(r.Remote); m != nil {
		return m[2]
	}
	u, err := url.Parse(r.Remote)
	switch {
	case err != nil:
		return "HOST"
	case u.Port() != "":
		return "-p " + u.Port() + " " + u.Hostname()
	}
	return u.Hostname()
}

// redirected matches what git says of an answer that is a redirect.
var redirected = lazy(`The requested URL returned error: 30\d`)

// limited keeps the first bytes of what is written to it.
type limited struct{ to *bytes.Buffer }

const maxOutput = 1 << 20

func (l *limited) Write(p []byte) (int, error) {
	l.to.Write(p[:min(len(p), maxOutput-min(maxOutput, l.to.Len()))])
	return len(p), nil
}
