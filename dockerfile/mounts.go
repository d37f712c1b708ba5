package dockerfile

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/mount"
	"github.com/oakum-build/oakum/dockerfile/internal/runflags"
)

// mounts are what the command of a RUN sees over paths of its stage.
func (t *task) mounts(ctx context.Context, c command) ([]builder.Mount, error) {
	planned, err := t.scope.Mounts(c.Command)
	if err != nil {
		return nil, err
	}
	mounts, from := slices.Clone(t.opts.Run.Volumes), c.from
	for _, m := range planned {
		var files builder.Source // a cache is empty at first
		switch {
		case m.HasFrom:
			files, err = mounted(&from[0], m.Source)
			from = from[1:]
		case m.Type == runflags.Bind:
			files, err = mounted(t.context(), m.Source)
		}
		if err != nil {
			return nil, err
		}
		made, there, err := t.opts.Credentials.mount(ctx, m, files)
		if err != nil {
			return nil, err
		}
		if there {
			mounts = append(mounts, made)
		}
	}
	return mounts, nil
}

// mount makes a mount of what a text says, and of the files that a bind or cache is of. There is
// none for a secret or agent that is missing and need not be there.
func (c Credentials) mount(ctx context.Context, m runflags.Mount, files builder.Source) (made builder.Mount, there bool, err error) {
	made = builder.Mount{Target: m.Target, ReadOnly: m.ReadOnly, From: files}
	switch m.Type {
	case runflags.Cache:
		made.Cache = &mount.Cache{ID: m.ID, Sharing: m.Sharing, Mode: m.Mode, UID: m.UID, GID: m.GID}
		if !m.HasFrom {
			made.Cache.Path = inRoot(m.Source)
		}
	case runflags.Tmpfs:
		made.Tmpfs = &mount.Tmpfs{Size: m.Size, Mode: m.Mode}
	case runflags.Secret:
		read := func(ctx context.Context) ([]byte, error) { return c.secret(ctx, m.ID) }
		made.Secret = &mount.Secret{Read: read, ID: m.ID, Env: m.Env, Mode: m.Mode, UID: m.UID, GID: m.GID}
		there, err = c.hasSecret(ctx, m)
		return made, there, err
	case runflags.SSH:
		agent, there, err := c.agent(m)
		made.SSH = &mount.SSH{ID: m.ID, Socket: agent.Socket, Keys: agent.Keys, Mode: m.Mode, UID: m.UID, GID: m.GID}
		return made, there, err
	}
	return made, true, nil
}

// Mounts makes mounts of texts in the words of RUN --mount, for a command that no Dockerfile runs:
// from names an image, and without it a bind is of source, a file or directory of this machine. An
// error says what to do, by a method Hint.
func (c Credentials) Mounts(ctx context.Context, texts []string) ([]builder.Mount, error) {
	var mounts []builder.Mount
	for _, text := range texts {
		m, err := runflags.Parse(text, "", func(word string) (string, bool, error) { return word, true, nil })
		if err != nil {
			return nil, err
		}
		image, err := runflags.From(text)
		if err != nil {
			return nil, err
		}
		var files builder.Source
		switch {
		case image != "":
			src := builder.ImageFiles(image)
			files, err = mounted(&src, m.Source)
		case m.Type == runflags.Bind && m.Source == "":
			err = errors.New("there is no build context: give source=PATH, or from=IMAGE")
		case m.Type == runflags.Bind:
			files, err = HostFiles(m.Source)
		}
		if err != nil {
			return nil, fmt.Errorf("RUN --mount=%s: %w", text, err)
		}
		made, there, err := c.mount(ctx, m, files)
		if err != nil {
			return nil, err
		}
		if there {
			mounts = append(mounts, made)
		}
	}
	return mounts, nil
}

// HostFiles is a file or directory of this machine, as a builder.Mount shows it to a command. A link
// is followed wherever it leads.
func HostFiles(name string) (builder.Source, error) {
	path, err := filepath.EvalSymlinks(name)
	if err != nil {
		return builder.Source{}, err
	}
	if path, err = filepath.Abs(path); err != nil {
		return builder.Source{}, err
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return builder.Source{}, err
	case info.IsDir():
		return builder.Dir(path), nil
	case !info.Mode().IsRegular():
		return builder.Source{}, fmt.Errorf("%s is neither a file nor a directory", name)
	}
	return builder.Dir(filepath.Dir(path)).Select(literal.Replace(filepath.Base(path))), nil
}

// mounted is the one file or directory of a source that a mount shows.
func mounted(files *builder.Source, name string) (builder.Source, error) {
	if files == nil {
		return builder.Source{}, errors.New("RUN --mount=type=bind: there is no build context to mount")
	}
	if name = inRoot(name); name != "." {
		return files.Select(literal.Replace(name)), nil
	}
	return *files, nil
}

// literal keeps the characters of a path from being a pattern.
var literal = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)

// hasSecret says whether the secret of a mount is there. It is an error when one that is required
// is not, and when one cannot be read.
func (c Credentials) hasSecret(ctx context.Context, m runflags.Mount) (bool, error) {
	_, err := c.secret(ctx, m.ID)
	switch {
	case err == nil:
		return true, nil
	case !errors.Is(err, ErrNoSecret):
		return false, fmt.Errorf("secret %s: %w", m.ID, err)
	case m.Required:
		return false, missing{fmt.Errorf("secret %s: %w, and it is required", m.ID, err), "give it by --secret id=" + m.ID + ",src=FILE"}
	}
	return false, nil
}

// secret is the value of a secret.
func (c Credentials) secret(ctx context.Context, id string) ([]byte, error) {
	if c.Secrets == nil {
		return nil, ErrNoSecret
	}
	return c.Secrets.Secret(ctx, id)
}

// agent is that of a mount, and whether it is there. It is an error when one that is required is
// not.
func (c Credentials) agent(m runflags.Mount) (agent Agent, there bool, err error) {
	agent, there = c.SSH[m.ID]
	if !there && m.Required {
		err = missing{fmt.Errorf("there is no ssh agent %s, and it is required", m.ID), "give it by --ssh " + m.ID}
	}
	return agent, there, err
}

// agentTimeout bounds how long an agent may take to be reached.
const agentTimeout = 5 * time.Second

// checkGiven checks the secrets and agents that the build needs, as far as they are known, before
// anything is done.
func (r *building) checkGiven(ctx context.Context) error {
	for _, s := range r.plan.Needed() {
		for _, c := range s.Commands {
			for _, m := range c.Mounts {
				if err := r.opts.Credentials.checkGiven(ctx, m); err != nil {
					return r.in.locate(err, c.Line, c.End, "")
				}
			}
		}
	}
	return nil
}

func (c Credentials) checkGiven(ctx context.Context, m runflags.Mount) error {
	switch {
	case m.Partial:
		return nil
	case m.Type == runflags.Secret:
		_, err := c.hasSecret(ctx, m)
		return err
	case m.Type != runflags.SSH:
		return nil
	}
	agent, there, err := c.agent(m)
	if err != nil || !there || agent.Socket == "" {
		return err
	}
	conn, err := (&net.Dialer{Timeout: agentTimeout}).DialContext(ctx, "unix", agent.Socket)
	if err != nil {
		return missing{fmt.Errorf("the ssh agent %s does not answer: %w", m.ID, err), "start it, and name its socket by --ssh " + m.ID + "=SOCKET"}
	}
	return conn.Close()
}

// missing is something that the caller has not given.
type missing struct {
	error
	hint string
}

func (e missing) Unwrap() error { return e.error }

// Hint says how to give it.
func (e missing) Hint() string { return e.hint }
