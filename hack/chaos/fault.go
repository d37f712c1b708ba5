package chaos

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
)

// A Rule says which answers go wrong, and how.
type Rule struct {
	Of    string // text in the method and path, as "GET /v2/app/blobs"
	Skip  int    // so many of them are right
	Times int    // and then so many wrong; 0 is all
	Fault Fault
}

// A Fault answers a request in place of next, which would answer it well.
type Fault func(w http.ResponseWriter, q *http.Request, next http.Handler)

// faultOf gives what becomes of a request, nil when it is answered well.
func (r *Registry) faultOf(q *http.Request) Fault {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rule := range r.rules {
		switch {
		case !strings.Contains(q.Method+" "+q.URL.Path, rule.Of):
		case rule.Skip > 0:
			rule.Skip--
			return nil
		case rule.Times < 0: // spent
		case rule.Times == 1:
			rule.Times = -1
			return rule.Fault
		default:
			rule.Times = max(0, rule.Times-1)
			return rule.Fault
		}
	}
	return nil
}

// Status answers with a status alone, and with headers, given as name and value.
func Status(code int, headers ...string) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(code)
	}
}

// Unauthorized wants a token that the registry itself gives, and then does not take it.
func Unauthorized(r *Registry) Fault {
	return Status(http.StatusUnauthorized, "WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="here"`, r.URL))
}

// Answer answers with other bytes.
func Answer(mediaType string, body []byte) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", mediaType)
		_, _ = w.Write(body)
	}
}

// Redirect sends the client to the same path at another address, or with "" to where it was.
func Redirect(url string) Fault {
	return func(w http.ResponseWriter, q *http.Request, _ http.Handler) {
		http.Redirect(w, q, url+q.URL.Path, http.StatusTemporaryRedirect)
	}
}

// Header gives the right answer with another header.
func Header(name, value string) Fault {
	return func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		next.ServeHTTP(&changed{w, func(status int) int { w.Header().Set(name, value); return status }}, q)
	}
}

// changed is an answer whose status and headers are changed before they are sent.
type changed struct {
	http.ResponseWriter
	change func(status int) int
}

func (c *changed) WriteHeader(status int) {
	if c.change != nil {
		status = c.change(status)
	}
	c.change = nil
	c.ResponseWriter.WriteHeader(status)
}

func (c *changed) Write(p []byte) (int, error) {
	if c.change != nil {
		c.WriteHeader(http.StatusOK)
	}
	return c.ResponseWriter.Write(p)
}

// Reset sends the first bytes of the right answer's body and then resets the connection.
func Reset(after int) Fault { return broken(after, true) }

// Cut sends the first bytes of the right answer's body and then closes the connection.
func Cut(after int) Fault { return broken(after, false) }

func broken(after int, reset bool) Fault {
	return func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		answer := httptest.NewRecorder()
		next.ServeHTTP(answer, q)
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		body := answer.Body.Bytes()
		head := *answer.Result()
		head.Body, head.ContentLength = http.NoBody, 0
		head.Header.Set("Content-Length", fmt.Sprint(len(body)))
		fmt.Fprintf(buffered, "HTTP/1.1 %d %s\r\n", answer.Code, http.StatusText(answer.Code))
		_ = head.Header.Write(buffered)
		_, _ = io.WriteString(buffered, "\r\n")
		_, _ = buffered.Write(body[:min(after, len(body))])
		_ = buffered.Flush()
		if tcp, ok := conn.(*net.TCPConn); ok && reset {
			_ = tcp.SetLinger(0)
		}
	}
}

// ResetRequest takes the first bytes of a request's body and then resets the connection.
func ResetRequest(after int64) Fault {
	return func(w http.ResponseWriter, q *http.Request, _ http.Handler) {
		_, _ = io.CopyN(io.Discard, q.Body, after)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		conn.Close()
	}
}

// Changed gives the right answer with another body.
func Changed(change func(body []byte) []byte) Fault {
	return func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		answer := httptest.NewRecorder()
		next.ServeHTTP(answer, q)
		for name, values := range answer.Header() {
			w.Header()[name] = values
		}
		body := change(answer.Body.Bytes())
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		w.WriteHeader(answer.Code)
		_, _ = w.Write(body)
	}
}

// Flip gives the right answer but for one bit of its last byte.
func Flip() Fault {
	return Changed(func(body []byte) []byte {
		if len(body) > 0 {
			body[len(body)-1] ^= 1
		}
		return body
	})
}

// Short gives an answer without its last bytes, as if that were all.
func Short(by int) Fault {
	return Changed(func(body []byte) []byte { return body[:max(0, len(body)-by)] })
}

// Long gives an answer with more bytes at its end.
func Long(by int) Fault {
	return Changed(func(body []byte) []byte { return append(body, make([]byte, by)...) })
}

// WholeForRange gives all of a blob when a part is asked for, as a registry may (RFC 9110, section
// 14.2).
func WholeForRange(w http.ResponseWriter, q *http.Request, next http.Handler) {
	q.Header.Del("Range")
	next.ServeHTTP(w, q)
}

// WrongRange gives another part than the one that is asked for, and calls it that of its header.
func WrongRange(w http.ResponseWriter, q *http.Request, next http.Handler) {
	q.Header.Set("Range", "bytes=1-")
	next.ServeHTTP(w, q)
}

// FalseRange gives another part than the one that is asked for, and calls it the one that is.
func FalseRange(w http.ResponseWriter, q *http.Request, next http.Handler) {
	var from int
	_, _ = fmt.Sscanf(q.Header.Get("Range"), "bytes=%d-", &from)
	q.Header.Set("Range", "bytes=0-")
	answer := httptest.NewRecorder()
	next.ServeHTTP(answer, q)
	body := answer.Body.Bytes()
	w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(body)-1, len(body)))
	w.WriteHeader(http.StatusPartialContent)
	_, _ = w.Write(body[:max(0, len(body)-from)])
}

// Endless sends a text and then bytes until the client has enough.
func Endless(mediaType, start string) Fault {
	return func(w http.ResponseWriter, q *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", mediaType)
		_, err := io.WriteString(w, start)
		for block := []byte(strings.Repeat("x", 1<<16)); err == nil && q.Context().Err() == nil; {
			_, err = w.Write(block)
		}
	}
}

// Halt gives or takes the first bytes of a body, says that it has, and goes on no more until over is closed.
func Halt(after int, reached func(), over <-chan struct{}) Fault {
	return func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		if q.Method == http.MethodGet {
			answer := httptest.NewRecorder()
			next.ServeHTTP(answer, q)
			body := answer.Body.Bytes()
			for name, values := range answer.Header() {
				w.Header()[name] = values
			}
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			w.WriteHeader(answer.Code)
			_, _ = w.Write(body[:min(after, len(body))])
			_ = http.NewResponseController(w).Flush()
		} else {
			_, _ = io.CopyN(io.Discard, q.Body, int64(after))
		}
		reached()
		<-over
	}
}
