//go:build linux

package builder

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/oakum-build/oakum/builder/internal/download"
	"github.com/oakum-build/oakum/builder/internal/gitrepo"
	"github.com/oakum-build/oakum/builder/internal/worker"
)

// URL is a file that is downloaded over http or https, as ADD does: its name is the last
// component of the URL's path, its mode 0600, its time that of Last-Modified, and it
// belongs to root. A file that the server says is unchanged is not downloaded again.
// Proxies are those of the environment. A file that cannot be had, or whose checksum is
// another, is an error that matches ErrFetch. Select, Ignore and Exclude have no meaning.
func URL(url string) Source { return Source{remote: worker.Remote{URL: url}} }

// Git is the files of a git repository, which belong to root, in the syntax of the
// Dockerfile reference (ADD): REMOTE[?QUERY][#REF[:DIRECTORY]], with a REMOTE over
// https, http, ssh or git, or user@host:path, or github.com/owner/repo. Submodules are
// fetched too. A commit that the store has is not fetched again. The git program does the
// work, without the configuration of this machine; ssh uses the agent of SSH_AUTH_SOCK,
// or the keys of the user. A repository that cannot be had is an error that matches
// ErrFetch.
func Git(ref string) Source { return Source{remote: worker.Remote{Git: ref}} }

// Tar is the files of a tar archive, plain or compressed by gzip, bzip2, xz or zstd. They
// belong to root unless Chown says otherwise. The archive is read once, so the Source is
// good for one Copy. When that fails, r may still be read from until it next returns.
func Tar(r io.Reader) Source { return Source{tar: r} }

// Checksum says what the digest of a URL's file must be, such as "sha256:...", or how the
// commit of a Git source must begin.
func (s Source) Checksum(sum string) Source { s.remote.Checksum = sum; return s }

// KeepGitDir says whether a Git source has its .git directory; without it, the reference
// says so, and else it has none.
func (s Source) KeepGitDir(keep bool) Source { s.remote.KeepGitDir = &keep; return s }

// CommitTimes gives the files of a Git source the time of their commit, as the query
// mtime=commit does; else it is that of the build.
func (s Source) CommitTimes() Source { s.remote.CommitTimes = true; return s }

// Authorization sends the value of an Authorization header, such as "Bearer TOKEN", to the
// server of a URL or of a Git source over http or https, and to no other: a redirect
// elsewhere goes without it. It is kept and shown
// nowhere, and has no part in the cache.
func (s Source) Authorization(value string) Source { s.remote.Authorization = value; return s }

// Agent lets a Git source over ssh go by the agent at a socket's path, instead of that of
// SSH_AUTH_SOCK.
func (s Source) Agent(socket string) Source { s.remote.Agent = socket; return s }

// Unpack lets Add unpack a URL's file when it is an archive. Without it, only files of
// other sources are unpacked.
func (s Source) Unpack() Source { s.unpack = true; return s }

// IsGit says whether ADD takes a text for a git repository, and not for a path or the
// URL of a file. A text that is taken for one and cannot be is an error that matches
// ErrInvalid.
func IsGit(text string) (bool, error) {
	if !gitrepo.Is(text) {
		return false, nil
	}
	if _, err := gitrepo.Parse(text); err != nil {
		return true, &kindError{ErrInvalid, err.Error()}
	}
	return true, nil
}

// remoteName is the source without credentials.
func (s Source) remoteName() string {
	if s.remote.URL != "" {
		return download.Redacted(s.remote.URL)
	}
	return download.Redacted(s.remote.Git)
}

// addTar sends a foreign stream to the worker.
func (st *streams) addTar(from io.Reader) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	st.readers, st.foreign = append(st.readers, r), append(st.foreign, w)
	go func() { // nobody waits for it
		defer w.Close()
		if _, err := io.Copy(w, readOnly{from}); err != nil && !errors.Is(err, os.ErrClosed) {
			var broken *os.PathError
			if errors.As(err, &broken) && broken.Path == w.Name() {
				return // the worker has read enough
			}
			st.fail(fmt.Errorf("reading the archive: %w", err))
			// The worker would take the end of an entry for that of the archive.
			_, _ = w.Write(bytes.Repeat([]byte{0xff}, 1024))
		}
	}()
	return nil
}

// abort ends the streams that may never end by themselves.
func (st *streams) abort() {
	for _, w := range st.foreign {
		w.Close()
	}
}

// readOnly hides what else a reader can do, so that io.Copy tells reading from writing.
type readOnly struct{ io.Reader }
