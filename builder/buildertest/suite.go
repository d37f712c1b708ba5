package buildertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/event"
	"github.com/oakum-build/oakum/builder/mount"
)

// Implementation is what Suite is run on.
type Implementation struct {
	// Open makes a Builder with a new store, which is closed when the test ends.
	Open func(t *testing.T, opts builder.Options) *builder.Builder
	// Base is an image that can be pulled. It has /etc/passwd with a user app of the ids 7 and 8, and the
	// commands "sh -c" with echo, cat, rm, false and exit; see Shell.
	Base string
}

// Suite checks that a Builder keeps what package builder promises. The real one and that of New
// pass it.
func Suite(t *testing.T, of Implementation) {
	for name, test := range map[string]func(t *testing.T, s suite){
		"Copy": testCopy, "CopyModes": testCopyModes, "CopyErrors": testCopyErrors, "Select": testSelect, "Add": testAdd,
		"Run": testRun, "RunErrors": testRunErrors, "Binds": testBinds, "Caches": testCaches, "MoveMounts": testMoveMounts, "DiskUsage": testDiskUsage, "MountErrors": testMountErrors,
		"Secrets": testSecrets, "OnError": testOnError, "Cache": testCache, "Fork": testFork, "Workdir": testWorkdir,
		"Commit": testCommit, "Images": testImages, "Index": testIndex, "IndexRemove": testIndexRemove, "IndexEdit": testIndexEdit, "Base": testBase, "Travel": testTravel, "Events": testEvents, "Sink": testSink, "Closed": testClosed, "Cancelled": testCancelled,
	} {
		t.Run(name, func(t *testing.T) { test(t, suite{of, of.Open(t, builder.Options{})}) })
	}
}

type suite struct {
	Implementation
	b *builder.Builder
}

func (s suite) stage(t *testing.T, from string, opts builder.StageOptions) *builder.Stage {
	t.Helper()
	st, err := s.b.Stage(t.Context(), from, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return st
}

// done fails the test unless a step was done, and gives it.
func done(t *testing.T) func(builder.Step, error) builder.Step {
	return func(s builder.Step, err error) builder.Step {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

// holds checks what a file of a stage holds; nil is no such file.
func holds(t *testing.T, s *builder.Stage, name string, want any) {
	t.Helper()
	got, err := s.ReadFile(t.Context(), name, 1<<20)
	switch want := want.(type) {
	case nil:
		if !errors.Is(err, builder.ErrNotFound) {
			t.Errorf("%s: %.100q, %v, want none", name, got, err)
		}
	case string:
		if err != nil || string(got) != want {
			t.Errorf("%s: %.100q, %v, want %.100q", name, got, err, want)
		}
	}
}

func is(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
}

func fork(t *testing.T, s *builder.Stage) *builder.Stage {
	t.Helper()
	child, err := s.Fork(t.Context(), builder.StageOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = child.Close() })
	return child
}

func testRun(t *testing.T, s suite) {
	st := s.stage(t, s.Base, builder.StageOptions{})
	var out, errs bytes.Buffer
	step := done(t)(st.Run(t.Context(), builder.Cmd{Args: []string{"sh", "-c", "echo one > /f; echo said; echo $V; cat"}, Env: []string{"V=v"}, Stdin: strings.NewReader("typed\n"), Stdout: &out, Stderr: &errs}))
	if step.Cached || step.Layer == "" || out.String() != "said\nv\ntyped\n" || errs.Len() > 0 {
		t.Errorf("%+v wrote %q, %q", step, out.String(), errs.String())
	}
	holds(t, st, "/f", "one\n")
	step = done(t)(st.Run(t.Context(), builder.Cmd{Args: []string{"sh", "-c", "echo two > /f"}, Ephemeral: true}))
	if step.Layer != "" && step.Cached {
		t.Errorf("an ephemeral command made %+v", step)
	}
	holds(t, st, "/f", "one\n")
	done(t)(st.Run(t.Context(), builder.Cmd{Args: []string{"sh", "-c", "rm /f"}}))
	holds(t, st, "/f", nil)

	// What was found in the cache has not run, and says nothing.
	again := s.stage(t, s.Base, builder.StageOptions{})
	out.Reset()
	step = done(t)(again.Run(t.Context(), builder.Cmd{Args: []string{"sh", "-c", "echo one > /f; echo said; echo $V; cat"}, Env: []string{"V=v"}, Stdin: strings.NewReader("typed\n"), Stdout: &out}))
	if !step.Cached || out.Len() > 0 {
		t.Errorf("%+v wrote %q", step, out.String())
	}
	holds(t, again, "/f", "one\n")
}

func testRunErrors(t *testing.T, s suite) {
	st := s.stage(t, s.Base, builder.StageOptions{})
	var exit *builder.ExitError
	_, err := st.Run(t.Context(), builder.Cmd{Args: []string{"sh", "-c", "echo x > /f; echo why; exit 3"}})
	if !errors.As(err, &exit) || exit.Code != 3 || exit.Reason != "" || string(exit.Output) != "why\n" {
		t.Errorf("got %+v, %v", exit, err)
	}
	holds(t, st, "/f", nil)
	_, err = st.Run(t.Context(), builder.Cmd{Args: []string{"/no/such/program"}})
	if !errors.As(err, &exit) || exit.Code != 127 || exit.Reason == "" {
		t.Errorf("a program that is not there: %+v, %v", exit, err)
	}
	_, err = st.Run(t.Context(), builder.Cmd{})
	is(t, err, builder.ErrInvalid)
	_, err = st.Run(t.Context(), builder.Cmd{Args: []string{"sh", "-c", "echo"}, User: "nobody-here"})
	is(t, err, builder.ErrUserNotFound)
}

// A secret is asked for when the command is run, whatever it is does not count, and one that cannot
// be had is the step's error.
func testSecrets(t *testing.T, s suite) {
	asked, broken := 0, errors.New("broken")
	var failure error
	read := func(context.Context) ([]byte, error) { asked++; return []byte("token"), failure }
	cmd := builder.Cmd{Args: []string{"sh", "-c", "echo $S > /said"}, Mounts: []builder.Mount{{Secret: &mount.Secret{Read: read, Env: "S"}}}}
	failure = broken
	_, err := s.stage(t, s.Base, builder.StageOptions{}).Run(t.Context(), cmd)
	is(t, err, broken)
	failure = nil
	for _, cached := range []bool{false, true} {
		st := s.stage(t, s.Base, builder.StageOptions{})
		if step := done(t)(st.Run(t.Context(), cmd)); step.Cached != cached || asked != 2 {
			t.Errorf("%+v, asked %d times", step, asked)
		}
		holds(t, st, "/said", "token\n")
	}
	for _, m := range []builder.Mount{{Secret: &mount.Secret{Read: read}}, {Target: "/s", Secret: &mount.Secret{}}, {Secret: &mount.Secret{Read: read, Env: "A=B"}}} {
		_, err = s.stage(t, s.Base, builder.StageOptions{}).Run(t.Context(), builder.Cmd{Args: cmd.Args, Mounts: []builder.Mount{m}})
		is(t, err, builder.ErrInvalid)
	}
}

// What a failed command left is there for further ones until OnError returns.
func testOnError(t *testing.T, s suite) {
	st := s.stage(t, s.Base, builder.StageOptions{})
	var out bytes.Buffer
	var late func(context.Context, builder.Cmd) error
	calls := 0
	_, err := st.Run(t.Context(), builder.Cmd{
		Args: []string{"sh", "-c", "echo left > /f; echo why; exit 3"}, Env: []string{"V=v"}, Stdout: &out,
		OnError: func(ctx context.Context, failed *builder.ExitError, run func(context.Context, builder.Cmd) error) {
			calls++
			late = run
			if failed.Code != 3 || string(failed.Output) != "why\n" || out.String() != "why\n" {
				t.Errorf("got %+v, and %q was written", failed, out.String())
			}
			if err := run(ctx, builder.Cmd{Args: []string{"sh", "-c", "echo $V $W; echo more > /g"}, Env: []string{"W=w"}, Stdout: &out}); err != nil {
				t.Error(err)
			}
			var exit *builder.ExitError
			if err := run(ctx, builder.Cmd{Args: []string{"sh", "-c", "exit 4"}}); !errors.As(err, &exit) || exit.Code != 4 {
				t.Errorf("got %v", err)
			}
			is(t, run(ctx, builder.Cmd{}), builder.ErrInvalid)
		},
	})
	var exit *builder.ExitError
	if !errors.As(err, &exit) || exit.Code != 3 || calls != 1 || out.String() != "why\nv w\n" {
		t.Errorf("%v after %d calls, which wrote %q", err, calls, out.String())
	}
	holds(t, st, "/f", nil)
	holds(t, st, "/g", nil)
	is(t, late(t.Context(), builder.Cmd{Args: []string{"sh", "-c", "echo"}}), builder.ErrInvalid)
	done(t)(st.Run(t.Context(), builder.Cmd{Args: []string{"sh", "-c", "echo"}, OnError: func(context.Context, *builder.ExitError, func(context.Context, builder.Cmd) error) {
		t.Error("called for a command that succeeded")
	}}))
}

func testCache(t *testing.T, s suite) {
	build := func(opts builder.StageOptions, content, command string) (cached []bool) {
		st := s.stage(t, s.Base, opts)
		cached = append(cached,
			done(t)(st.Copy(t.Context(), "/f", builder.Bytes("f", []byte(content)))).Cached,
			done(t)(st.Workdir(t.Context(), "/w", "")).Cached,
			done(t)(st.Run(t.Context(), builder.Cmd{Args: []string{"sh", "-c", command}})).Cached)
		return cached
	}
	for _, test := range []struct {
		opts             builder.StageOptions
		content, command string
		want             []bool
	}{
		{builder.StageOptions{}, "1", "echo a > /a", []bool{false, false, false}},
		{builder.StageOptions{}, "1", "echo a > /a", []bool{true, true, true}},
		{builder.StageOptions{}, "1", "echo b > /a", []bool{true, true, false}},
		{builder.StageOptions{}, "2", "echo a > /a", []bool{false, false, false}},
		{builder.StageOptions{NoCache: true}, "1", "echo a > /a", []bool{false, false, false}},
		{builder.StageOptions{Lookup: true}, "2", "echo a > /a", []bool{true, true, true}},
	} {
		if got := build(test.opts, test.content, test.command); !slices.Equal(got, test.want) {
			t.Errorf("%+v %s %s: cached %v, want %v", test.opts, test.content, test.command, got, test.want)
		}
	}
	st := s.stage(t, s.Base, builder.StageOptions{Lookup: true})
	_, err := st.Run(t.Context(), builder.Cmd{Args: []string{"sh", "-c", "echo never"}})
	is(t, err, builder.ErrUncached)
}

func testFork(t *testing.T, s suite) {
	st := s.stage(t, builder.Scratch, builder.StageOptions{})
	done(t)(st.Copy(t.Context(), "/f", builder.Bytes("f", []byte("f"))))
	st.Configure("ENV A=1", func(c *builder.Config) { c.Env = append(c.Env, "A=1") })
	child := fork(t, st)
	done(t)(child.Copy(t.Context(), "/g", builder.Bytes("g", []byte("g"))))
	child.Configure("", func(c *builder.Config) { c.Env[0] = "A=2" })
	holds(t, child, "/f", "f")
	holds(t, st, "/g", nil)
	if got := st.Config().Env; !slices.Equal(got, []string{"A=1"}) {
		t.Errorf("the child changed its parent's environment: %q", got)
	}
	if err := st.Close(); err != nil {
		t.Error(err)
	}
	holds(t, child, "/f", "f")
}

func testEvents(t *testing.T, s suite) {
	var got []string
	b := s.Open(t, builder.Options{Events: func(e event.Event) {
		if e.Kind == event.PullProgress {
			return // as often as it may be
		}
		got = append(got, strings.TrimSpace(fmt.Sprint(e.Build, " ", e.Stage, " ", e.Kind, " ", e.Step)))
		if e.Time.IsZero() {
			t.Errorf("%+v has no time", e)
		}
	}})
	with := suite{s.Implementation, b}
	st := with.stage(t, s.Base, builder.StageOptions{Name: "s", Build: "b"})
	done(t)(st.CopyWith(t.Context(), builder.CopyOptions{History: "COPY it"}, "/f", builder.Bytes("f", nil)))
	if _, err := st.Commit(t.Context(), "", builder.CommitOptions{}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		fmt.Sprint("b s ", event.PullStarted), fmt.Sprint("b s ", event.PullFinished),
		fmt.Sprint("b s ", event.StepStarted, " COPY it"), fmt.Sprint("b s ", event.StepFinished, " COPY it"), fmt.Sprint("b s ", event.Committed),
	}
	if !slices.Equal(got, want) {
		t.Errorf("events\n%q, want\n%q", got, want)
	}
}

// A sink may call the Builder, and one that panics fails the call whose event it got.
func testSink(t *testing.T, s suite) {
	var b *builder.Builder
	b = s.Open(t, builder.Options{Events: func(e event.Event) {
		if _, err := b.Images(context.Background()); err != nil {
			t.Error(err)
		}
		if e.Step == "COPY panic" {
			panic("of the sink")
		}
	}})
	st := suite{s.Implementation, b}.stage(t, builder.Scratch, builder.StageOptions{})
	_, err := st.CopyWith(t.Context(), builder.CopyOptions{History: "COPY panic"}, "/f", builder.Bytes("f", nil))
	if err == nil || !strings.Contains(err.Error(), "of the sink") {
		t.Errorf("the sink panicked, and the call gave %v", err)
	}
	done(t)(st.Copy(t.Context(), "/g", builder.Bytes("g", []byte("g"))))
	holds(t, st, "/g", "g")
}

func testClosed(t *testing.T, s suite) {
	st := s.stage(t, builder.Scratch, builder.StageOptions{})
	other, err := s.b.Stage(t.Context(), builder.Scratch, builder.StageOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := other.Close(); err != nil {
			t.Error(err)
		}
	}
	_, err = other.Copy(t.Context(), "/", builder.Bytes("f", nil))
	is(t, err, builder.ErrClosed)
	_, err = st.Copy(t.Context(), "/", other.Path("f"))
	is(t, err, builder.ErrClosed)
	_, err = other.Fork(t.Context(), builder.StageOptions{})
	is(t, err, builder.ErrClosed)
	_, err = other.Commit(t.Context(), "", builder.CommitOptions{})
	is(t, err, builder.ErrClosed)
	for range 2 {
		if err := s.b.Close(); err != nil {
			t.Error(err)
		}
	}
	_, err = st.Copy(t.Context(), "/", builder.Bytes("f", nil))
	is(t, err, builder.ErrClosed)
	_, err = s.b.Stage(t.Context(), builder.Scratch, builder.StageOptions{})
	is(t, err, builder.ErrClosed)
	_, err = s.b.Images(t.Context())
	is(t, err, builder.ErrClosed)
}

func testCancelled(t *testing.T, s suite) {
	st := s.stage(t, s.Base, builder.StageOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := st.Copy(ctx, "/f", builder.Bytes("f", nil))
	is(t, err, context.Canceled)
	_, err = st.Run(ctx, builder.Cmd{Args: []string{"sh", "-c", "echo"}})
	is(t, err, context.Canceled)
	_, err = s.b.Images(ctx)
	is(t, err, context.Canceled)
	holds(t, st, "/f", nil)
	done(t)(st.Copy(t.Context(), "/f", builder.Bytes("f", []byte("f"))))
	holds(t, st, "/f", "f")
}
