//go:build linux

package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/oakum-build/oakum/builder/internal/sandbox"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/storage"
)

// defaultPath is what Docker gives a command whose environment has no PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func (w *worker) run(ctx context.Context, call *wire.Call, p Run) (Stepped, error) {
	s, err := w.stage(p.Stage)
	if err != nil {
		return Stepped{}, err
	}
	files := 3
	if p.Terminal != nil {
		files = 1
	}
	if len(p.Args) == 0 || (len(call.Files) != files && !p.Lookup) {
		return Stepped{}, fmt.Errorf("%w: a command needs arguments and %d files", errInvalid, files)
	}
	what := p
	what.Stage, what.UncachedEnv, what.Lookup, what.I386 = "", nil, false, false
	op := operation{what: what, do: func(ctx context.Context, below *storage.Layer, staging storage.Staging) (string, error) {
		return "", w.command(ctx, call, p, below, staging)
	}, note: noting(call)}
	if p.Lookup {
		return w.known(ctx, s, op)
	}
	if p.Ephemeral {
		return Stepped{}, w.ephemeral(ctx, s, op)
	}
	return w.step(ctx, s, op)
}

// errDiscard makes MakeLayer throw away a layer whose command succeeded.
var errDiscard = errors.New("discarded")

func (w *worker) ephemeral(ctx context.Context, s *stage, op operation) error {
	below, err := s.claimed()
	if err != nil {
		return err
	}
	_, err = w.store.MakeLayer(ctx, below, func(staging storage.Staging) error {
		if _, err := op.do(ctx, below, staging); err != nil {
			return err
		}
		return errDiscard
	})
	if errors.Is(err, errDiscard) {
		return nil
	}
	return err
}

// command runs a command with staging as the place of its changes.
func (w *worker) command(ctx context.Context, call *wire.Call, p Run, below *storage.Layer, staging storage.Staging) (err error) {
	if err := keepMountPoints(below, staging.Upper); err != nil {
		return err
	}
	m, err := w.mount(below, &staging, true)
	if err != nil {
		return err
	}
	traces := &traces{}
	defer func() {
		err = errors.Join(err, m.close())
		traces.prune(staging.Upper)
	}()
	u, err := sandbox.LookupUser(m.root, p.User)
	if err == nil {
		err = checkMapped("user "+p.User, u)
	}
	if err != nil {
		return err
	}
	userns, err := w.userns()
	if err != nil {
		return err
	}
	id := fmt.Sprintf("run%d", w.next())
	defer os.RemoveAll(filepath.Join(w.mnt, "files", id))
	files, err := w.privateFiles(id, cmp.Or(p.Hostname, sandbox.DefaultHostname))
	if err != nil {
		return err
	}
	args, env, texts, err := commandLine(m.root, p, u)
	if err != nil {
		return started(err)
	}
	pipes, err := w.scripts(id, texts)
	if err != nil {
		return err
	}
	traces = makeMountPoints(m.root, files)
	command := sandbox.Command{
		ID: id, StateDir: filepath.Join(w.mnt, "containers"), Rootfs: m.path,
		Args: args, Env: env, Dir: p.Dir, User: u, Files: files, Pipes: pipes, Hostname: p.Hostname,
		Userns: userns, I386: p.I386 || sandbox.Has32Bit(m.root),
	}
	if t := p.Terminal; t != nil {
		command.Console, command.Rows, command.Columns = call.Files[0], t.Rows, t.Columns
	} else {
		command.Stdin, command.Stdout, command.Stderr = call.Files[0], call.Files[1], call.Files[2]
	}
	code, err := sandbox.Run(ctx, command)
	traces.remove(m.root)
	if err == nil && code != 0 {
		return exitError(code, "")
	}
	return started(err)
}

// started gives the error of a command that could not be started its exit status.
func started(err error) error {
	var start *sandbox.StartError
	if errors.As(err, &start) {
		return exitError(start.Code, start.Error())
	}
	return err
}

// launcher is the name of a command's launcher among its files.
const launcher = ".launcher"

// commandLine gives a command's arguments, variables and files as libcontainer is to have
// them.
func commandLine(root *os.File, p Run, u sandbox.User) (args, env []string, files map[string]string, err error) {
	args, env, files = p.Args, environment(p, u), p.Files
	if !sandbox.NeedsLauncher(args, env) {
		return args, env, files, nil
	}
	program, err := sandbox.Launcher(root, p.Dir, args, env)
	files = maps.Clone(files)
	if files == nil {
		files = map[string]string{}
	}
	files[launcher] = string(program)
	return []string{"/dev/pipes/" + launcher}, nil, files, err
}

// environment is that of the command: later entries win, PATH and HOME have defaults.
func environment(p Run, u sandbox.User) []string {
	var env []string
	at := map[string]int{}
	for _, kv := range append(append([]string{}, p.Env...), p.UncachedEnv...) {
		name, _, ok := strings.Cut(kv, "=")
		if !ok || name == "" {
			continue // never the worker's own value (GHSA-4hq8-gpf5-8p68)
		}
		if i, seen := at[name]; seen {
			env[i] = kv
			continue
		}
		at[name] = len(env)
		env = append(env, kv)
	}
	if _, ok := at["PATH"]; !ok {
		env = append(env, "PATH="+defaultPath)
	}
	if _, ok := at["HOME"]; !ok {
		env = append(env, "HOME="+u.Home)
	}
	if _, ok := at["TERM"]; !ok && p.Terminal != nil {
		env = append(env, "TERM=xterm") // as Docker's
	}
	return env
}

// scripts writes the command's own files and gives their directory, "" when there are
// none.
func (w *worker) scripts(id string, texts map[string]string) (string, error) {
	if len(texts) == 0 {
		return "", nil
	}
	dir := filepath.Join(w.mnt, "files", id, "pipes")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	for name, text := range texts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// privateFiles writes the hosts and resolv.conf that one command sees, and may change.
func (w *worker) privateFiles(id, hostname string) (map[string]string, error) {
	dir := filepath.Join(w.mnt, "files", id)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	files := map[string]string{}
	for name, text := range map[string]string{"hosts": w.hello.Hosts + "127.0.1.1\t" + hostname + "\n", "resolv.conf": w.hello.Resolv} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return nil, err
		}
		files["/etc/"+name] = path
	}
	return files, nil
}
