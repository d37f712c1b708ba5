package builder

import (
	"github.com/oakum-build/oakum/builder/internal/input"
)

// URL is a file that is downloaded over http or https, as ADD does: its name is the last
// component of the URL's path, its mode 0600, its time that of Last-Modified, and it
// belongs to root. A file that the server says is unchanged is not downloaded again.
// Proxies are those of the environment. A file that cannot be had, or whose checksum is
// another, is an error that matches ErrFetch.
func URL(url string) Source {
	if url == "" {
		return Source{}
	}
	return Source{kind: urlSource, url: input.URL{URL: url}}
}

// Git is the files of a git repository, which belong to root, in the syntax of the
// Dockerfile reference (ADD): REMOTE[?QUERY][#REF[:DIRECTORY]], with a REMOTE over
// https, http, ssh or git, or user@host:path, or github.com/owner/repo. Submodules are
// fetched too. A commit that the store has is not fetched again. The git program does the
// work, without the configuration of this machine; ssh uses the agent of SSH_AUTH_SOCK,
// or the keys of the user. A repository that cannot be had is an error that matches
// ErrFetch.
func Git(ref string) Source {
	if ref == "" {
		return Source{}
	}
	return Source{kind: gitSource, git: input.Git{Ref: ref}}
}

// Checksum says what the digest of a URL's file must be, such as "sha256:...", or how the
// commit of a Git source must begin.
func (s Source) Checksum(sum string) Source {
	return s.modify("Checksum", func(s *Source) { s.url.Checksum, s.git.Checksum = sum, sum })
}

// KeepGitDir says whether a Git source has its .git directory; without it, the reference
// says so, and else it has none.
func (s Source) KeepGitDir(keep bool) Source {
	return s.modify("KeepGitDir", func(s *Source) { s.git.KeepGitDir = &keep })
}

// CommitTimes gives the files of a Git source the time of their commit, as the query
// mtime=commit does; else it is that of the build.
func (s Source) CommitTimes() Source {
	return s.modify("CommitTimes", func(s *Source) { s.git.CommitTimes = true })
}

// Authorization sends the value of an Authorization header, such as "Bearer TOKEN", to the
// server of a URL or of a Git source over http or https, and to no other: a redirect
// elsewhere goes without it. It is kept and shown
// nowhere, and has no part in the cache.
func (s Source) Authorization(value string) Source {
	return s.modify("Authorization", func(s *Source) { s.url.Authorization, s.git.Authorization = value, value })
}

// Agent lets a Git source over ssh go by the agent at a socket's path, instead of that of
// SSH_AUTH_SOCK.
func (s Source) Agent(socket string) Source {
	return s.modify("Agent", func(s *Source) { s.git.Agent = socket })
}

// Unpack lets Add unpack a URL's file when it is an archive. Without it, only files of
// other sources are unpacked.
func (s Source) Unpack() Source {
	return s.modify("Unpack", func(s *Source) { s.unpack = true })
}
