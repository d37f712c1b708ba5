package dockerfile

import (
	"errors"
	"testing"

	"github.com/oakum-build/oakum/builder"
)

// A layer is written while what follows is done: when that fails, it is the fault of the
// instruction that made the layer, and not of the one that comes to know of it.
func TestLayerThatCannotBeWritten(t *testing.T) {
	full := &builder.LayerError{Layer: "RUN /bin/sh -c b", Err: errors.New("no space left on device")}
	for _, notices := range []string{"1: RUN /bin/sh -c d", "1: COMMIT out", "1: FORK 0"} {
		_, err := buildText(t, "FROM base\nRUN a\nRUN b\nRUN c\nFROM 0\nRUN d\n", func(f *fake, _ *Options) {
			f.fail = map[string]error{notices: full}
		})
		var located *Error
		if !errors.As(err, &located) || located.Line != 3 || !errors.Is(err, full) {
			t.Errorf("%s: got %v", notices, err)
		}
	}
	_, err := buildText(t, "FROM base\nRUN a\n", func(f *fake, _ *Options) {
		f.fail = map[string]error{"0: COMMIT out": &builder.LayerError{Layer: "of another", Err: full.Err}}
	})
	if err == nil || err.Error() != "no space left on device" {
		t.Errorf("got %v", err)
	}
}
