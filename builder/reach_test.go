//go:build linux

package builder_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder"
)

// answering is a registry that has nothing: it answers each request for a manifest with a status.
func answering(t *testing.T, status int, header http.Header, body string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" && status == http.StatusNotFound {
			return
		}
		for name, values := range header {
			w.Header()[name] = values
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// A missing image and a registry that cannot be reached are told apart, wherever an image is named.
func TestMissingOrUnreachable(t *testing.T) {
	t.Parallel()
	const refused = "127.0.0.1:1" // a port that no test is given
	unknown := `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`
	plain := false
	opts := builder.Options{Root: tempDir(t), Registry: builder.Registry{TLSVerify: &plain}, Retries: -1}
	b := openIn(t, opts)
	for _, test := range []struct {
		name, host, reason string
		want, not          error
	}{
		{"refused connection", refused, "", builder.ErrRegistry, builder.ErrImageNotFound},
		{"unknown host", "no-such-host.invalid", "", builder.ErrRegistry, builder.ErrImageNotFound},
		{"no manifest", answering(t, 404, nil, unknown), "", builder.ErrImageNotFound, builder.ErrRegistry},
		{"no repository", answering(t, 404, nil, `{"errors":[{"code":"NAME_UNKNOWN","message":"repository name not known to registry"}]}`), "", builder.ErrImageNotFound, builder.ErrRegistry},
		{"no login", answering(t, 401, http.Header{"Www-Authenticate": {`Basic realm="here"`}}, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`), "login", builder.ErrRegistry, builder.ErrImageNotFound},
		{"a server error", answering(t, 500, nil, ""), "", builder.ErrRegistry, builder.ErrImageNotFound},
		{"a 404 of no registry", answering(t, 404, nil, "<html>"), "", builder.ErrImageNotFound, builder.ErrRegistry},
	} {
		t.Run(test.name, func(t *testing.T) {
			ref := test.host + "/some/image:tag"
			_, staged := b.Stage(t.Context(), ref, builder.StageOptions{})
			_, pulled := b.Pull(t.Context(), ref, builder.PullOptions{})
			copied := errOf(base(t, b).Copy(t.Context(), "/x", builder.ImageFiles(ref)))
			for what, err := range map[string]error{"Stage": staged, "Pull": pulled, "Copy": copied} {
				if !errors.Is(err, test.want) || errors.Is(err, test.not) {
					t.Errorf("%s: got %v", what, err)
				}
				var registry *builder.RegistryError
				if errors.As(err, &registry) && (registry.Host != test.host || string(registry.Reason) != test.reason) {
					t.Errorf("%s: registry %q, reason %q", what, registry.Host, registry.Reason)
				} else if test.reason != "" && registry == nil {
					t.Errorf("%s: %v says no reason", what, err)
				}
			}
		})
	}
	_, err := b.Stage(t.Context(), "localhost/nowhere", builder.StageOptions{Pull: "never"})
	is(t, err, builder.ErrImageNotFound)
	_, err = b.Inspect(t.Context(), "localhost/nowhere")
	is(t, err, builder.ErrImageNotFound)
}
