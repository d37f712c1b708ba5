//go:build linux

package builder

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/builder/internal/worker"
	"github.com/oakum-build/oakum/storage"
)

// Cmd is a command to run in a stage; its fields are those of os/exec.Cmd.
type Cmd struct {
	// Args is the command and its arguments. A name without a slash is searched in
	// the PATH of the command's environment, inside the stage.
	Args []string
	// Env is added to the configuration's environment and is part of the cache key.
	Env []string
	// UncachedEnv is added too but is left out of the cache key (proxy settings).
	UncachedEnv []string
	// Dir is the working directory; "" is the configuration's, else /.
	Dir string
	// User is user[:group] by name or number; "" is the configuration's, else root.
	User string
	// Stdin is the standard input; nil is empty.
	Stdin io.Reader
	// Stdout and Stderr receive the output; nil discards it. An *os.File is given to
	// the command itself.
	Stdout, Stderr io.Writer
	// Hostname is the name of the machine as the command sees it; "" is the same in every
	// build.
	Hostname string
	// Files are the texts of executable files, by name, that the command finds in
	// /dev/pipes.
	Files map[string]string
	// Ephemeral throws the command's changes to the files away, and bypasses the cache.
	Ephemeral bool
}

// maxHostname is the kernel's limit, in bytes.
const maxHostname = 64

// Run runs a command in the stage, in new mount, PID, IPC and UTS namespaces, with
// Docker's default capabilities and seccomp filter. When it returns, every process
// of the command is gone. A command that fails is an *ExitError, and leaves the
// stage as it was.
func (s *Stage) Run(ctx context.Context, cmd Cmd) error {
	if len(cmd.Args) == 0 || cmd.Args[0] == "" {
		return fmt.Errorf("%w: a command needs arguments", ErrInvalid)
	}
	if s.closed {
		return ErrClosed
	}
	params := worker.Run{
		Stage: s.id, Args: cmd.Args, Files: cmd.Files, Hostname: cmd.Hostname, UncachedEnv: cmd.UncachedEnv, Ephemeral: cmd.Ephemeral,
		Env: append(append([]string{}, s.config.Env...), cmd.Env...),
		Dir: s.abs(cmd.Dir), User: cmd.User,
	}
	if cmd.User == "" {
		params.User = s.config.User
	}
	for name := range cmd.Files {
		if !fs.ValidPath(name) || name == "." || strings.ContainsAny(name, "/\x00") {
			return fmt.Errorf("%w: %q is not a file's name", ErrInvalid, name)
		}
	}
	if len(cmd.Hostname) > maxHostname || strings.ContainsFunc(cmd.Hostname, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("%w: %q is not a machine's name", ErrInvalid, cmd.Hostname)
	}
	texts := slices.Concat(params.Args, params.Env, params.UncachedEnv, []string{params.Dir})
	if slices.ContainsFunc(texts, func(text string) bool { return strings.ContainsRune(text, 0) }) {
		return fmt.Errorf("%w: the command or its environment has a NUL byte", ErrInvalid)
	}
	do := func(out *worker.Stepped) error {
		if !cmd.Ephemeral && !s.noCache {
			// A step of the cache needs no pipes.
			lookup := params
			lookup.Lookup = true
			if err := s.b.call(ctx, "run", lookup, out, nil); err != nil || !out.Missed {
				return err
			}
			*out = worker.Stepped{}
		}
		stdio, err := newStdio(cmd)
		if err != nil {
			return err
		}
		err = s.b.call(ctx, "run", params, out, stdio.files[:])
		return s.commandError(cmd.Args, err, stdio.finish())
	}
	if cmd.Ephemeral {
		var out worker.Stepped
		return do(&out)
	}
	return s.step("RUN "+strings.Join(cmd.Args, " "), do)
}

// commandError makes an ExitError of a failed command.
func (s *Stage) commandError(args []string, err error, tail []byte) error {
	var k *wire.Error
	if !errors.As(err, &k) || k.Kind != worker.KindExit {
		return err
	}
	var d worker.ExitDetail
	if jsonErr := json.Unmarshal(k.Detail, &d); jsonErr != nil {
		return err
	}
	if is, host := s.image.platform(), storage.HostPlatform(); !is.Fits(host) && execFailed(args[0], d.Code, tail) {
		d.Code = 126
		d.Message = fmt.Sprintf("%v: the image is for %s, and this machine (%s) has no emulator for it registered (binfmt_misc)", unix.ENOEXEC, is, host)
	}
	return &ExitError{Args: args, Code: d.Code, Reason: d.Message, Output: tail}
}

// execFailed says that a command did no more than what libcontainer does in its place
// when the kernel does not know the program's format.
func execFailed(name string, code int, output []byte) bool {
	text := strings.TrimSuffix(string(output), "\n")
	program := name[strings.LastIndexByte(name, '/')+1:]
	return code == 255 && !strings.Contains(text, "\n") &&
		strings.HasPrefix(text, "exec ") && strings.HasSuffix(text, program+": "+unix.ENOEXEC.Error())
}

// stdio is a command's three files as this process sees them.
type stdio struct {
	files [3]*os.File
	ours  []*os.File // what is closed once the worker has its copies
	wg    sync.WaitGroup
	tail  tail
	start []func()
}

func newStdio(cmd Cmd) (*stdio, error) {
	s := &stdio{}
	if err := s.input(cmd.Stdin); err != nil {
		return nil, err
	}
	for i, w := range []io.Writer{cmd.Stdout, cmd.Stderr} {
		if i == 1 && sameWriter(cmd.Stdout, cmd.Stderr) {
			s.files[2] = s.files[1]
			break
		}
		if err := s.output(1+i, w); err != nil {
			s.abandon()
			return nil, err
		}
	}
	for _, f := range s.start {
		s.wg.Go(f)
	}
	return s, nil
}

// sameWriter says whether one pipe serves both, which keeps the order of lines.
func sameWriter(a, b io.Writer) bool {
	defer func() { _ = recover() }() // writers of types that cannot be compared
	return a == b
}

func (s *stdio) abandon() {
	for _, f := range s.ours {
		f.Close()
	}
}

func (s *stdio) input(r io.Reader) error {
	if f, ok := r.(*os.File); ok && f != nil {
		s.files[0] = f
		return nil
	}
	if r == nil {
		f, err := os.Open(os.DevNull)
		if err != nil {
			return err
		}
		s.files[0], s.ours = f, append(s.ours, f)
		return nil
	}
	pr, pw, err := os.Pipe()
	if err != nil {
		return err
	}
	s.files[0], s.ours = pr, append(s.ours, pr)
	// Not waited for: a reader that never ends must not keep a finished command.
	go func() {
		_, _ = io.Copy(pw, r)
		pw.Close()
	}()
	return nil
}

func (s *stdio) output(i int, w io.Writer) error {
	if f, ok := w.(*os.File); ok && f != nil {
		s.files[i] = f
		return nil
	}
	if w == nil {
		w = io.Discard
	}
	pr, pw, err := os.Pipe()
	if err != nil {
		return err
	}
	s.files[i], s.ours = pw, append(s.ours, pw)
	s.start = append(s.start, func() {
		defer pr.Close()
		_, err := io.Copy(io.MultiWriter(&s.tail, w), pr)
		if err != nil {
			// The writer failed; the command must not block on a full pipe.
			_, _ = io.Copy(&s.tail, pr)
		}
	})
	return nil
}

// finish is called when the worker is done with the files. It waits until all output
// has been delivered and gives its last lines.
func (s *stdio) finish() []byte {
	s.abandon()
	s.wg.Wait()
	return s.tail.bytes()
}

// maxTail is how much output an ExitError carries.
const maxTail = 8 << 10

// tail keeps the last lines written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
	cut bool // the first line is not whole
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if len(t.buf) > 2*maxTail {
		t.buf, t.cut = append(t.buf[:0], t.buf[len(t.buf)-maxTail:]...), true
	}
	return len(p), nil
}

func (t *tail) bytes() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.buf) > maxTail {
		t.buf, t.cut = t.buf[len(t.buf)-maxTail:], true
	}
	if _, rest, found := bytes.Cut(t.buf, []byte("\n")); t.cut && found && len(rest) > 0 {
		return rest
	}
	return t.buf
}
