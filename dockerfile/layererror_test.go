package dockerfile

import (
	"errors"
	"testing"

	"github.com/oakum-build/oakum/builder"
)

// A layer is written while what follows is done: when that fails, it is the fault of the
// instruction that made the layer, and not of the one that comes to know of it.
func TestLayerThatCannotBeWritten(t *testing.T) {
	full := errors.New("no space left on device")
	for _, notices := range []string{"1: RUN /bin/sh -c d", "1: COMMIT out", "1: FORK 0"} {
		_, err := buildText(t, "FROM base\nRUN a\nRUN b\nRUN c\nFROM 0\nRUN d\n", func(f *fake, _ *Options) {
			f.fails = func(line string) error {
				if line != notices {
					return nil
				}
				return &builder.LayerError{Layer: f.on["0: RUN /bin/sh -c c"], Err: full}
			}
		})
		var located *Error
		var layer *builder.LayerError
		if !errors.As(err, &located) || located.Line != 3 || !errors.As(err, &layer) || layer.Error() != full.Error() {
			t.Errorf("%s: got %v", notices, err)
		}
	}
	_, err := buildText(t, "FROM base\nRUN a\n", func(f *fake, _ *Options) {
		f.fail = map[string]error{"0: COMMIT out": &builder.LayerError{Layer: "of another", Err: full}}
	})
	if err == nil || err.Error() != "no space left on device" {
		t.Errorf("got %v", err)
	}
}
