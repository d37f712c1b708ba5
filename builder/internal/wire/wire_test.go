package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// server makes a Server of the methods, and "", that handle does; nil makes one of none.
func server(handle func(ctx context.Context, method string, call *Call) (any, error), methods ...string) *Server {
	s := NewServer(func(err error) *Error {
		var e *Error
		if errors.As(err, &e) {
			return &Error{e.Kind, err.Error(), e.Detail}
		}
		return &Error{Message: err.Error()}
	}, nil)
	if handle == nil {
		return s
	}
	for _, m := range append(methods, "") {
		s.handlers[m] = func(ctx context.Context, call *Call) (any, error) { return handle(ctx, m, call) }
	}
	return s
}

// socket starts a worker's side of a socket and gives the other.
func socket(t testing.TB, s *Server) (*client, *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|closeOnExec, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	c := NewClient(ours).(*client)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(theirs) }()
	t.Cleanup(func() {
		c.Close()
		select {
		case <-ended:
		case <-time.After(2 * time.Minute):
			t.Error("the server goes on after its client is closed")
		}
		theirs.Close()
	})
	return c, theirs
}

// each runs a test over each way to a server.
func each(t *testing.T, s func() *Server, test func(t *testing.T, c Conn)) {
	t.Run("socket", func(t *testing.T) {
		c, _ := socket(t, s())
		test(t, c)
	})
	t.Run("local", func(t *testing.T) {
		c := s().Local()
		defer c.Close()
		test(t, c)
	})
}

type numbers struct{ A, B int }

func (numbers) Gives(int) string { return "add" }

// adding is a Server that adds.
func adding() *Server {
	s := server(nil)
	Handle(s, func(_ context.Context, _ *Call, n numbers) (int, error) { return n.A + n.B, nil })
	return s
}

// raw does a call whose method has no declaration.
func raw(ctx context.Context, c Conn, method string, params, result any, out Outgoing) error {
	sent, err := Marshal(params)
	if err != nil {
		return err
	}
	out.Method, out.Params = method, sent
	back, err := c.Call(ctx, out)
	if err != nil || result == nil {
		return err
	}
	return Unmarshal(back, result)
}

func TestCall(t *testing.T) {
	t.Parallel()
	each(t, adding, func(t *testing.T, c Conn) {
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				if sum, err := Do(t.Context(), c, numbers{i, 1}, With{}); err != nil || sum != i+1 {
					t.Errorf("%d + 1: %d, %v", i, sum, err)
				}
			})
		}
		wg.Wait()
		if err := raw(t.Context(), c, "subtract", nil, nil, Outgoing{}); err == nil || err.Error() != `unknown method "subtract"` {
			t.Error("got", err)
		}
		if err := raw(t.Context(), c, "add", "text", nil, Outgoing{}); err == nil {
			t.Error("a text was added")
		}
		var wrong []string
		if err := raw(t.Context(), c, "add", numbers{1, 2}, &wrong, Outgoing{}); err == nil {
			t.Error("a number is a list")
		}
	})
	each(t, func() *Server {
		return server(func(_ context.Context, _ string, call *Call) (any, error) { return call.params, nil }, "echo")
	}, func(t *testing.T, c Conn) {
		for _, text := range []string{strings.Repeat("x", 4<<20), "\xe9\ufffd\U0010FEE9"} {
			var back string
			if err := raw(t.Context(), c, "echo", text, &back, Outgoing{}); err != nil || back != text {
				t.Errorf("%d bytes came back: %v", len(back), err)
			}
		}
	})
}

// What is asked before each call can refuse it.
func TestBefore(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	each(t, func() *Server {
		s := adding()
		s.before = func(method string) error {
			if method == "add" {
				return broken
			}
			return nil
		}
		return s
	}, func(t *testing.T, c Conn) {
		if sum, err := Do(t.Context(), c, numbers{1, 2}, With{}); err == nil || err.Error() != "broken" {
			t.Errorf("got %d, %v", sum, err)
		}
	})
}

func TestErrorsCross(t *testing.T) {
	t.Parallel()
	known := &Error{Kind: "known", Message: "inner", Detail: json.RawMessage(`{"Code":3}`)}
	each(t, func() *Server {
		return server(func(_ context.Context, method string, call *Call) (any, error) {
			switch method {
			case "plain":
				return nil, errors.New("plain \xe9")
			case "wrapped":
				return nil, fmt.Errorf("outer: %w", known)
			case "unencodable":
				return func() {}, nil
			}
			return nil, known
		}, "plain", "known", "wrapped", "unencodable")
	}, func(t *testing.T, c Conn) {
		for method, want := range map[string]Error{
			"plain":   {Message: "plain \xe9"},
			"known":   {Kind: "known", Message: "inner", Detail: known.Detail},
			"wrapped": {Kind: "known", Message: "outer: inner", Detail: known.Detail},
		} {
			var got *Error
			if err := raw(t.Context(), c, method, nil, nil, Outgoing{}); !errors.As(err, &got) {
				t.Errorf("%s: %v", method, err)
			} else if got.Kind != want.Kind || got.Message != want.Message || !bytes.Equal(got.Detail, want.Detail) {
				t.Errorf("%s: got %+v, want %+v", method, *got, want)
			}
		}
		if err := raw(t.Context(), c, "unencodable", nil, nil, Outgoing{}); err == nil {
			t.Error("a function came back")
		}
	})
}

func TestEvents(t *testing.T) {
	t.Parallel()
	each(t, func() *Server {
		return server(func(_ context.Context, _ string, call *Call) (any, error) {
			var wg sync.WaitGroup
			for i := range 20 {
				wg.Go(func() { call.Event(i) })
			}
			call.Event(func() {}) // cannot be encoded, and is left out
			wg.Wait()
			return "done", nil
		})
	}, func(t *testing.T, c Conn) {
		var got []string
		if err := raw(t.Context(), c, "", nil, nil, Outgoing{Event: func(raw json.RawMessage) { got = append(got, string(raw)) }}); err != nil {
			t.Fatal(err)
		}
		slices.Sort(got)
		if len(got) != 20 || len(slices.Compact(got)) != 20 {
			t.Errorf("got events %q", got)
		}
		if err := raw(t.Context(), c, "", nil, nil, Outgoing{}); err != nil {
			t.Error("events that nobody wants:", err)
		}
	})
}

func TestCancel(t *testing.T) {
	t.Parallel()
	var undone, started chan struct{}
	each(t, func() *Server {
		undone, started = make(chan struct{}), make(chan struct{})
		return server(func(ctx context.Context, method string, call *Call) (any, error) {
			if method == "now" {
				return "done", nil
			}
			close(started)
			<-ctx.Done()
			time.Sleep(50 * time.Millisecond) // undoing takes its time
			close(undone)
			return nil, ctx.Err()
		}, "wait", "now")
	}, func(t *testing.T, c Conn) {
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-started; cancel() }()
		if err := raw(ctx, c, "wait", nil, nil, Outgoing{}); err != context.Canceled {
			t.Error("got", err)
		}
		select {
		case <-undone:
		default:
			t.Error("the call returned before the worker had undone it")
		}
		if err := raw(ctx, c, "now", nil, nil, Outgoing{}); err != context.Canceled {
			t.Error("a cancelled context: got", err)
		}
		if err := raw(t.Context(), c, "now", nil, nil, Outgoing{}); err != nil {
			t.Error("the next call:", err)
		}
	})
}

func TestGone(t *testing.T) {
	t.Parallel()
	t.Run("before", func(t *testing.T) {
		c, theirs := socket(t, adding())
		_ = unix.Shutdown(int(theirs.Fd()), unix.SHUT_RDWR)
		if _, err := Do(t.Context(), c, numbers{}, With{}); !errors.Is(err, ErrGone) {
			t.Error("got", err)
		}
	})
	t.Run("during", func(t *testing.T) {
		// A worker that takes the call and dies.
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|closeOnExec, 0)
		if err != nil {
			t.Fatal(err)
		}
		theirs := os.NewFile(uintptr(fds[1]), "theirs")
		c := NewClient(os.NewFile(uintptr(fds[0]), "ours"))
		defer c.Close()
		go func() {
			buf, oob := make([]byte, 1), make([]byte, 64)
			_, n, _, _, _ := unix.Recvmsg(int(theirs.Fd()), buf, oob, 0)
			files, _ := rights(oob[:n])
			for _, f := range append(files, theirs) {
				f.Close()
			}
		}()
		if err := raw(t.Context(), c, "die", nil, nil, Outgoing{}); !errors.Is(err, ErrGone) {
			t.Error("got", err)
		}
	})
	t.Run("closed", func(t *testing.T) {
		var started chan struct{}
		each(t, func() *Server {
			started = make(chan struct{})
			return server(func(ctx context.Context, _ string, call *Call) (any, error) {
				close(started)
				<-ctx.Done()
				return nil, ctx.Err()
			}, "wait")
		}, func(t *testing.T, c Conn) {
			done := make(chan error)
			go func() { done <- raw(t.Context(), c, "wait", nil, nil, Outgoing{}) }()
			<-started
			c.Close()
			if err := <-done; err == nil {
				t.Error("the call under way succeeded")
			}
			if err := raw(t.Context(), c, "wait", nil, nil, Outgoing{}); !errors.Is(err, ErrGone) {
				t.Error("got", err)
			}
		})
	})
}

func TestFiles(t *testing.T) {
	t.Parallel()
	each(t, func() *Server {
		return server(func(_ context.Context, _ string, call *Call) (any, error) {
			var texts []string
			for i, f := range call.Files {
				data, err := io.ReadAll(f)
				if err != nil {
					return nil, err
				}
				texts = append(texts, string(data))
				if i == 0 { // taken out of the call
					call.Files[i] = nil
					f.Close()
				}
			}
			return texts, nil
		}, "read")
	}, func(t *testing.T, c Conn) {
		file := func(text string) *os.File {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := r.Close(); err != nil { // the server has closed copies
					t.Error(err)
				}
			})
			_, _ = w.WriteString(text)
			w.Close()
			return r
		}
		var got []string
		if err := raw(t.Context(), c, "read", nil, &got, Outgoing{Files: []*os.File{file("one"), file(""), file("three")}}); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, []string{"one", "", "three"}) {
			t.Errorf("got %q", got)
		}
		many := make([]*os.File, maxFiles)
		for i := range many {
			many[i] = file("x")
		}
		if err := raw(t.Context(), c, "read", nil, &got, Outgoing{Files: many}); err != nil || len(got) != maxFiles {
			t.Errorf("%d files: %v", len(got), err)
		}
		if err := raw(t.Context(), c, "read", nil, &got, Outgoing{Files: append(many, file("y"))}); err == nil {
			t.Error("too many files were sent")
		}
	})
}

// No garbage on a call's own socket ends the server.
func TestGarbage(t *testing.T) {
	t.Parallel()
	c, _ := socket(t, adding())
	for _, text := range []string{"", "x", "{}", `{"Method":"add","Params":{},"Files":3}`, "[1,2", "null\n", strings.Repeat("[", 10000)} {
		conn, err := c.open(nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write([]byte(text))
		_ = conn.CloseWrite()
		_, _ = io.Copy(io.Discard, conn)
		conn.Close()
	}
	if sum, err := Do(t.Context(), c, numbers{2, 3}, With{}); err != nil || sum != 5 {
		t.Errorf("2 + 3: %d, %v", sum, err)
	}
}

// FuzzRequest gives the worker's side whatever bytes for a call.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{`{"Method":"add","Params":{"A":1,"B":2},"Files":0}`, "{}", "null", `{"Method":1}`, `{"Files":-1}`} {
		f.Add([]byte(seed))
	}
	c, _ := socket(f, adding())
	f.Fuzz(func(t *testing.T, data []byte) {
		conn, err := c.open(nil)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = conn.Write(data)
		_ = conn.CloseWrite()
		replies, err := io.ReadAll(conn)
		if err != nil && !errors.Is(err, unix.ECONNRESET) { // what it left unread
			t.Fatal(err)
		}
		if len(replies) > 0 && !json.Valid(replies) {
			t.Errorf("replies %q", replies)
		}
	})
}

type question struct{ N int }

func (question) Gives(string) string { return "word" }

// A question is answered by the caller while its call goes on, and one that nobody answers
// or that is asked of a caller that gave up does not hang.
func TestAsk(t *testing.T) {
	t.Parallel()
	var waiting chan struct{}
	each(t, func() *Server {
		waiting = make(chan struct{})
		return server(func(ctx context.Context, method string, call *Call) (any, error) {
			var got []string
			if method == "wait" {
				close(waiting)
			}
			for i := range 3 {
				word, err := Ask(ctx, call, question{i})
				if err != nil {
					return nil, err
				}
				call.Event(word)
				got = append(got, word)
			}
			return strings.Join(got, " "), nil
		}, "ask", "wait")
	}, func(t *testing.T, c Conn) {
		var out string
		if err := raw(t.Context(), c, "ask", nil, &out, Outgoing{}); err == nil || err.Error() != "nobody answers" {
			t.Errorf("without an answer: %q, %v", out, err)
		}
		answers := server(nil)
		Handle(answers, func(ctx context.Context, _ *Call, q question) (string, error) {
			return fmt.Sprint("word ", q.N), nil
		})
		events := 0
		err := raw(t.Context(), c, "ask", nil, &out, Outgoing{Answers: answers, Event: func(json.RawMessage) { events++ }})
		if err != nil || out != "word 0 word 1 word 2" || events != 3 {
			t.Errorf("got %q, %d events, %v", out, events, err)
		}
		if c, overSocket := c.(*client); overSocket { // in one process it ends the caller itself
			exits := server(nil)
			Handle(exits, func(context.Context, *Call, question) (string, error) {
				runtime.Goexit()
				return "", nil
			})
			if err := raw(t.Context(), c, "ask", nil, &out, Outgoing{Answers: exits}); err == nil || err.Error() != "who was to answer has ended" {
				t.Errorf("who answers has ended: %v", err)
			}
		}
		givesUp := server(nil)
		Handle(givesUp, func(ctx context.Context, _ *Call, q question) (string, error) {
			<-waiting
			<-ctx.Done()
			return "", ctx.Err()
		})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		if err := raw(ctx, c, "wait", nil, &out, Outgoing{Answers: givesUp}); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	})
}

type filling struct{ Text string }

func (filling) Gives(int) string { return "fill" }

// A question's files are the caller's to write to, as many as were sent, and are closed after it.
func TestAskWithFiles(t *testing.T) {
	t.Parallel()
	const many = 5
	each(t, func() *Server {
		return server(func(ctx context.Context, _ string, call *Call) (any, error) {
			var texts []string
			for n := range many {
				var readers, writers []*os.File
				for range n {
					r, w, err := os.Pipe()
					if err != nil {
						return nil, err
					}
					defer r.Close()
					readers, writers = append(readers, r), append(writers, w)
				}
				call.Event(n)
				// Long enough that the bytes come in several reads.
				got, err := Ask(ctx, call, filling{strings.Repeat("x", n*100_000)}, writers...)
				closeAll(writers)
				if err != nil || got != n*100_000 {
					return nil, fmt.Errorf("%d files: %d, %w", n, got, err)
				}
				for _, r := range readers {
					data, err := io.ReadAll(r) // ends because the caller's copies are closed
					if err != nil {
						return nil, err
					}
					texts = append(texts, string(data))
				}
			}
			_, err := Ask(ctx, call, filling{}, make([]*os.File, maxFiles+1)...)
			return strings.Join(texts, " "), cmpErr(err, "17 files in one call")
		})
	}, func(t *testing.T, c Conn) {
		answers := server(nil)
		Handle(answers, func(_ context.Context, call *Call, q filling) (int, error) {
			for i, f := range call.Files {
				if _, err := fmt.Fprintf(f, "%d/%d", i, len(call.Files)); err != nil {
					return 0, err
				}
			}
			return len(q.Text), nil
		})
		var got string
		err := raw(t.Context(), c, "", nil, &got, Outgoing{Answers: answers})
		if want := "0/1 0/2 1/2 0/3 1/3 2/3 0/4 1/4 2/4 3/4"; err != nil || got != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
		if err := raw(t.Context(), c, "", nil, &got, Outgoing{}); err == nil || !strings.Contains(err.Error(), "nobody answers") {
			t.Errorf("nobody answers: %v", err)
		}
	})
}

func cmpErr(err error, want string) error {
	if err == nil || err.Error() != want {
		return fmt.Errorf("error %v, want %s", err, want)
	}
	return nil
}
