package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// serve starts a worker's side and gives a client of it.
func serve(t testing.TB, handle Handler) (*Client, *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	c := NewClient(ours)
	ended := make(chan error, 1)
	go func() { ended <- Serve(theirs, handle) }()
	t.Cleanup(func() {
		c.Close()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Error("the server goes on after its client is closed")
		}
		theirs.Close()
	})
	return c, theirs
}

type numbers struct{ A, B int }

func add(_ context.Context, call *Call) (any, error) {
	var n numbers
	if err := json.Unmarshal(call.Params, &n); err != nil {
		return nil, err
	}
	if call.Method != "add" {
		return nil, fmt.Errorf("no method %s", call.Method)
	}
	return n.A + n.B, nil
}

func TestCall(t *testing.T) {
	t.Parallel()
	c, _ := serve(t, add)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			var sum int
			if err := c.Call(t.Context(), "add", numbers{i, 1}, &sum, nil, nil); err != nil || sum != i+1 {
				t.Errorf("%d + 1: %d, %v", i, sum, err)
			}
		})
	}
	wg.Wait()
	if err := c.Call(t.Context(), "add", numbers{1, 2}, nil, nil, nil); err != nil {
		t.Error("without a result:", err)
	}
	if err := c.Call(t.Context(), "subtract", nil, nil, nil, nil); err == nil || err.Error() != "no method subtract" {
		t.Error("got", err)
	}
	if err := c.Call(t.Context(), "add", func() {}, nil, nil, nil); err == nil {
		t.Error("a function was sent")
	}
	var wrong []string
	if err := c.Call(t.Context(), "add", numbers{1, 2}, &wrong, nil, nil); err == nil {
		t.Error("a number is a list")
	}
	large := strings.Repeat("x", 4<<20)
	var back string
	echo, _ := serve(t, func(_ context.Context, call *Call) (any, error) { return call.Params, nil })
	if err := echo.Call(t.Context(), "echo", large, &back, nil, nil); err != nil || back != large {
		t.Errorf("%d bytes came back: %v", len(back), err)
	}
}

func TestErrorsCross(t *testing.T) {
	t.Parallel()
	known := &Error{Kind: "known", Message: "inner", Detail: json.RawMessage(`{"Code":3}`)}
	c, _ := serve(t, func(_ context.Context, call *Call) (any, error) {
		switch call.Method {
		case "plain":
			return nil, errors.New("plain")
		case "wrapped":
			return nil, fmt.Errorf("outer: %w", known)
		case "unencodable":
			return func() {}, nil
		}
		return nil, known
	})
	for method, want := range map[string]Error{
		"plain":   {Message: "plain"},
		"known":   {Kind: "known", Message: "inner", Detail: known.Detail},
		"wrapped": {Kind: "known", Message: "outer: inner", Detail: known.Detail},
	} {
		var got *Error
		if err := c.Call(t.Context(), method, nil, nil, nil, nil); !errors.As(err, &got) {
			t.Errorf("%s: %v", method, err)
		} else if got.Kind != want.Kind || got.Message != want.Message || !bytes.Equal(got.Detail, want.Detail) {
			t.Errorf("%s: got %+v, want %+v", method, *got, want)
		}
	}
	if err := c.Call(t.Context(), "unencodable", nil, nil, nil, nil); err == nil {
		t.Error("a function came back")
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	c, _ := serve(t, func(_ context.Context, call *Call) (any, error) {
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() { call.Event(i) })
		}
		call.Event(func() {}) // cannot be encoded, and is left out
		wg.Wait()
		return "done", nil
	})
	var got []string
	if err := c.Call(t.Context(), "", nil, nil, nil, func(raw json.RawMessage) { got = append(got, string(raw)) }); err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	if len(got) != 20 || len(slices.Compact(got)) != 20 {
		t.Errorf("got events %q", got)
	}
	if err := c.Call(t.Context(), "", nil, nil, nil, nil); err != nil {
		t.Error("events that nobody wants:", err)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	undone := make(chan struct{})
	started := make(chan struct{})
	c, _ := serve(t, func(ctx context.Context, call *Call) (any, error) {
		if call.Method == "now" {
			return "done", nil
		}
		close(started)
		<-ctx.Done()
		time.Sleep(50 * time.Millisecond) // undoing takes its time
		close(undone)
		return nil, ctx.Err()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-started; cancel() }()
	if err := c.Call(ctx, "wait", nil, nil, nil, nil); err != context.Canceled {
		t.Error("got", err)
	}
	select {
	case <-undone:
	default:
		t.Error("the call returned before the worker had undone it")
	}
	if err := c.Call(ctx, "now", nil, nil, nil, nil); err != context.Canceled {
		t.Error("a cancelled context: got", err)
	}
	if err := c.Call(t.Context(), "now", nil, nil, nil, nil); err != nil {
		t.Error("the next call:", err)
	}
}

func TestGone(t *testing.T) {
	t.Parallel()
	t.Run("before", func(t *testing.T) {
		c, theirs := serve(t, add)
		_ = unix.Shutdown(int(theirs.Fd()), unix.SHUT_RDWR)
		if err := c.Call(t.Context(), "add", nil, nil, nil, nil); !errors.Is(err, ErrGone) {
			t.Error("got", err)
		}
	})
	t.Run("during", func(t *testing.T) {
		// A worker that takes the call and dies.
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
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
		if err := c.Call(t.Context(), "die", nil, nil, nil, nil); !errors.Is(err, ErrGone) {
			t.Error("got", err)
		}
	})
	t.Run("closed", func(t *testing.T) {
		var c *Client
		started := make(chan struct{})
		c, _ = serve(t, func(ctx context.Context, call *Call) (any, error) {
			close(started)
			<-ctx.Done()
			return nil, ctx.Err()
		})
		done := make(chan error)
		go func() { done <- c.Call(t.Context(), "wait", nil, nil, nil, nil) }()
		<-started
		c.Close()
		if err := <-done; err == nil {
			t.Error("the call under way succeeded")
		}
		if err := c.Call(t.Context(), "wait", nil, nil, nil, nil); !errors.Is(err, ErrGone) {
			t.Error("got", err)
		}
	})
}

func TestFiles(t *testing.T) {
	t.Parallel()
	c, _ := serve(t, func(_ context.Context, call *Call) (any, error) {
		var texts []string
		for _, f := range call.Files {
			data, err := io.ReadAll(f)
			if err != nil {
				return nil, err
			}
			texts = append(texts, string(data))
		}
		return texts, nil
	})
	file := func(text string) *os.File {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		_, _ = w.WriteString(text)
		w.Close()
		return r
	}
	var got []string
	if err := c.Call(t.Context(), "read", nil, &got, []*os.File{file("one"), file(""), file("three")}, nil); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, []string{"one", "", "three"}) {
		t.Errorf("got %q", got)
	}
	many := make([]*os.File, maxFiles)
	for i := range many {
		many[i] = file("x")
	}
	if err := c.Call(t.Context(), "read", nil, &got, many, nil); err != nil || len(got) != maxFiles {
		t.Errorf("%d files: %v", len(got), err)
	}
	if err := c.Call(t.Context(), "read", nil, &got, append(many, file("y")), nil); err == nil {
		t.Error("too many files were sent")
	}
}

// A message that is not a call's ends the server, and no garbage on a call's own
// socket does.
func TestGarbage(t *testing.T) {
	t.Parallel()
	c, _ := serve(t, add)
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
	var sum int
	if err := c.Call(t.Context(), "add", numbers{2, 3}, &sum, nil, nil); err != nil || sum != 5 {
		t.Errorf("2 + 3: %d, %v", sum, err)
	}
}

// FuzzRequest gives the worker's side whatever bytes for a call.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{`{"Method":"add","Params":{"A":1,"B":2},"Files":0}`, "{}", "null", `{"Method":1}`, `{"Files":-1}`} {
		f.Add([]byte(seed))
	}
	c, _ := serve(f, add)
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

// A question is answered by the caller while its call goes on, and one that nobody answers
// or that is asked of a caller that gave up does not hang.
func TestAsk(t *testing.T) {
	t.Parallel()
	waiting := make(chan struct{})
	c, _ := serve(t, func(ctx context.Context, call *Call) (any, error) {
		var got []string
		if call.Method == "wait" {
			close(waiting)
		}
		for i := range 3 {
			var word string
			if err := call.Ask(ctx, i, &word); err != nil {
				return nil, err
			}
			call.Event(word)
			got = append(got, word)
		}
		return strings.Join(got, " "), nil
	})
	var out string
	if err := c.Call(t.Context(), "ask", nil, &out, nil, nil); err == nil || err.Error() != "nobody answers" {
		t.Errorf("without an answer: %q, %v", out, err)
	}
	c.Answer = func(ctx context.Context, question json.RawMessage) (any, error) {
		if ctx.Value(t) != nil { // the caller that gives up
			<-waiting
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return "word " + string(question), nil
	}
	events := 0
	err := c.Call(t.Context(), "ask", nil, &out, nil, func(json.RawMessage) { events++ })
	if err != nil || out != "word 0 word 1 word 2" || events != 3 {
		t.Errorf("got %q, %d events, %v", out, events, err)
	}
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), t, true))
	time.AfterFunc(50*time.Millisecond, cancel)
	if err := c.Call(ctx, "wait", nil, &out, nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
