package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a test waits for what comes at once unless it never does.
const patience = 2 * time.Minute

// asking is a call over a socket of which the test is the caller itself: what it reads and answers.
type asking struct {
	*net.UnixConn
	dec *json.Decoder
}

// asks has a call done.
func asks(t *testing.T, handle func(ctx context.Context, call *Call) (any, error)) asking {
	t.Helper()
	c, _ := socket(t, server(func(ctx context.Context, _ string, call *Call) (any, error) { return handle(ctx, call) }))
	conn, err := c.open(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	a := asking{conn, json.NewDecoder(conn)}
	a.says(t, request{})
	return a
}

func (a asking) says(t *testing.T, v any) {
	t.Helper()
	if err := json.NewEncoder(a).Encode(v); err != nil {
		t.Fatal(err)
	}
}

func (a asking) hears(t *testing.T) reply {
	t.Helper()
	var r reply
	if err := a.dec.Decode(&r); err != nil {
		t.Fatal(err)
	}
	return r
}

// number is that of the next question.
func (a asking) number(t *testing.T) int {
	t.Helper()
	r := a.hears(t)
	if r.Ask == nil {
		t.Fatalf("no question but %+v", r)
	}
	return r.Ask.Number
}

// A question is answered while others are, of which each needs the next one answered, and has its own files.
func TestAskAtOnce(t *testing.T) {
	t.Parallel()
	const many = 20
	var answered []chan struct{}
	each(t, func() *Server {
		answered = nil
		for range many + 1 {
			answered = append(answered, make(chan struct{}))
		}
		close(answered[many])
		return server(func(ctx context.Context, _ string, call *Call) (any, error) {
			errs := make(chan error, many)
			for n := range many {
				go func() {
					defer close(answered[n])
					errs <- askWithFiles(ctx, call, n, n%4)
				}()
			}
			var err error
			for range many {
				err = errors.Join(err, <-errs)
			}
			return nil, err
		})
	}, func(t *testing.T, c Conn) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		answers := server(nil)
		Handle(answers, func(ctx context.Context, call *Call, q filling) (int, error) {
			var n int
			if _, err := fmt.Sscan(q.Text, &n); err != nil {
				return 0, err
			}
			select {
			case <-answered[n+1]:
			case <-ctx.Done():
				return 0, ctx.Err()
			}
			for _, f := range call.Files {
				if _, err := fmt.Fprintf(f, "for %d", n); err != nil {
					return 0, err
				}
			}
			return n, nil
		})
		if err := raw(ctx, c, "", nil, nil, Outgoing{Answers: answers}); err != nil {
			t.Error(err)
		}
	})
}

// askWithFiles asks with a number and files, which are to come back with it.
func askWithFiles(ctx context.Context, call *Call, n, files int) error {
	var readers, writers []*os.File
	defer func() { closeAll(readers) }()
	for range files {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		readers, writers = append(readers, r), append(writers, w)
	}
	// Long enough that the bytes come in several reads.
	got, err := Ask(ctx, call, filling{fmt.Sprint(n, " ", strings.Repeat("x", 50_000))}, writers...)
	closeAll(writers)
	if err != nil || got != n {
		return fmt.Errorf("question %d: answer %d, %w", n, got, err)
	}
	for _, r := range readers {
		data, err := io.ReadAll(r)
		if want := fmt.Sprint("for ", n); err != nil || string(data) != want {
			return fmt.Errorf("question %d: in its file is %q, %w", n, data, err)
		}
	}
	return nil
}

// What answers a question that was given up, or that was never asked, or answers again, answers no other.
func TestAskAnsweredLate(t *testing.T) {
	t.Parallel()
	a := asks(t, func(ctx context.Context, call *Call) (any, error) {
		over, cancel := context.WithCancel(ctx)
		cancel()
		if word, err := Ask(over, call, question{}); !errors.Is(err, context.Canceled) {
			return nil, fmt.Errorf("given up: %q, %w", word, err)
		}
		var words []string
		for n := range 2 {
			word, err := Ask(ctx, call, question{n})
			if err != nil {
				return nil, err
			}
			words = append(words, word)
		}
		return words, nil
	})
	late, first := a.number(t), a.number(t)
	for _, n := range []int{late, 0, -1, 99} {
		a.says(t, reply{Number: n, Result: json.RawMessage(`"late"`), Done: true})
	}
	for range 3 {
		a.says(t, reply{Number: first, Result: json.RawMessage(`"one"`), Done: true})
	}
	a.says(t, reply{Number: a.number(t), Result: json.RawMessage(`"two"`), Done: true})
	if r := a.hears(t); r.Error != nil || string(r.Result) != `["one","two"]` {
		t.Errorf("got %s, %v", r.Result, r.Error)
	}
}

// Whatever answers come that nobody waits for, the caller can cancel.
func TestAskAnsweredLateAndCancelled(t *testing.T) {
	t.Parallel()
	const many = 10
	a := asks(t, func(ctx context.Context, call *Call) (any, error) {
		over, cancel := context.WithCancel(ctx)
		cancel()
		for n := range many {
			_, _ = Ask(over, call, question{n})
		}
		<-ctx.Done()
		return nil, ctx.Err()
	})
	var numbers []int
	for range many {
		numbers = append(numbers, a.number(t))
	}
	for _, n := range numbers {
		a.says(t, reply{Number: n, Done: true})
	}
	if err := a.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if r := a.hears(t); r.Error == nil || r.Error.Message != context.Canceled.Error() {
		t.Errorf("got %+v", r)
	}
	slices.Sort(numbers)
	if len(slices.Compact(numbers)) != many {
		t.Errorf("the numbers are %d", numbers)
	}
}

// All questions that are waited for end with their caller.
func TestAskOfWhoIsGone(t *testing.T) {
	t.Parallel()
	const many = 3
	errs := make(chan error, many)
	a := asks(t, func(ctx context.Context, call *Call) (any, error) {
		for n := range many {
			go func() {
				_, err := Ask(ctx, call, question{n})
				errs <- err
			}()
		}
		<-ctx.Done()
		return nil, ctx.Err()
	})
	for range many {
		a.number(t)
	}
	a.Close()
	for range many {
		select {
		case err := <-errs:
			if err != context.Canceled {
				t.Error("got", err)
			}
		case <-time.After(patience):
			t.Fatal("a question is waited for though its caller is gone")
		}
	}
}

// Files that the kernel cannot pass are not made up for by those of the next question.
func TestAskWithFilesThatAreLost(t *testing.T) {
	t.Parallel()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|closeOnExec, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "theirs")
	defer theirs.Close()
	c := NewClient(os.NewFile(uintptr(fds[0]), "ours"))
	defer c.Close()
	answers := server(nil)
	Handle(answers, func(_ context.Context, call *Call, _ question) (string, error) {
		for _, f := range call.Files {
			_, _ = f.WriteString("written")
		}
		return "answered", nil
	})
	done := make(chan error, 1)
	go func() { done <- raw(t.Context(), c, "", nil, nil, Outgoing{Answers: answers}) }()
	conn, err := ReceiveFile(theirs)
	if err != nil {
		t.Fatal(err)
	}
	end, err := net.FileConn(conn)
	conn.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer end.Close()
	if err := end.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	back := &talk{conn: end.(*net.UnixConn)}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	tooMany := slices.Repeat([]*os.File{w}, 3*maxFiles) // there is no room for so many
	for n, files := range [][]*os.File{tooMany, {w}, nil} {
		ask := &request{Number: n + 1, Method: "word", Params: json.RawMessage("{}"), Files: len(files)}
		if err := back.send(reply{Ask: ask}, files...); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	dec := json.NewDecoder(end)
	_ = dec.Decode(&request{})
	for range 3 {
		var a reply
		if err := dec.Decode(&a); err != nil {
			t.Fatal(err)
		}
		if lost := a.Number != 3; lost != (a.Error != nil) {
			t.Errorf("question %d: %s, %v", a.Number, a.Result, a.Error)
		}
	}
	if err := back.send(reply{Done: true}); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if data, err := io.ReadAll(r); len(data) > 0 || err != nil { // ends because no copy is left
		t.Errorf("%q was written, %v", data, err)
	}
}

// A call whose files the kernel cannot pass, or not all of them, ends, and no other call does.
func TestCallsWithFilesThatAreLost(t *testing.T) {
	t.Parallel()
	started, goOn := make(chan struct{}), make(chan struct{})
	c, _ := socket(t, server(func(ctx context.Context, _ string, call *Call) (any, error) {
		close(started)
		select {
		case <-goOn:
			return "done", nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}))
	done := make(chan error, 1)
	go func() { done <- raw(t.Context(), c, "", nil, nil, Outgoing{}) }()
	<-started
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	// As it comes where none can be open.
	if err := unix.Sendmsg(int(c.conn.Fd()), []byte{0}, nil, nil, unix.MSG_NOSIGNAL); err != nil {
		t.Fatal(err)
	}
	conn, err := c.open(slices.Repeat([]*os.File{w}, 3*maxFiles)) // there is no room for so many
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := errors.Join(conn.SetDeadline(time.Now().Add(patience)), r.SetDeadline(time.Now().Add(patience))); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("a call that has lost files: %d bytes, %v", n, err)
	}
	if _, err := io.ReadAll(r); err != nil { // ends because no copy is left
		t.Error(err)
	}
	close(goOn)
	if err := <-done; err != nil {
		t.Fatal("the call under way:", err)
	}
	if err := raw(t.Context(), c, "none", nil, nil, Outgoing{}); err == nil || errors.Is(err, ErrGone) {
		t.Error("the next call:", err)
	}
}
