//go:build linux

package builder_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/limits"
)

// A limit that the worker meets comes to the caller as a typed error that names it.
func TestLimitsAreNamed(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	ok(t, errOf(s.Copy(t.Context(), "/etc/group", builder.Dir(tree(t, map[string]string{"group": strings.Repeat("x", 2<<20)})).Select("group"))))
	_, err := s.Run(t.Context(), builder.Cmd{Args: []string{"true"}})
	var limit *limits.LimitError
	if !errors.As(err, &limit) || limit.Name != "/etc/group" || limit.Limit == 0 {
		t.Errorf("RUN beside a line of 2 MiB in /etc/group: %v", err)
	}
	is(t, err, builder.ErrInvalid)

	big := scratch(t, b)
	big.Configure("", func(c *builder.Config) { c.Labels = map[string]string{"big": strings.Repeat("x", limits.MaxJSON)} })
	if _, err = big.Commit(t.Context(), "", builder.CommitOptions{}); !errors.As(err, &limit) || limit.Limit != limits.MaxJSON {
		t.Errorf("a configuration that nobody could pull: %v", err)
	}
}
