//go:build linux

package builder

import (
	"testing"

	"github.com/oakum-build/oakum/builder/internal/protocol/question"
	"github.com/oakum-build/oakum/storage/authfile"
)

// What the worker may ask is answered.
func TestEveryQuestionIsAnswered(t *testing.T) {
	t.Parallel()
	if method := (question.Logins{}).Gives(authfile.Logins{}); !(&Builder{}).answering().Handles(method) {
		t.Errorf("nobody answers %s", method)
	}
}
