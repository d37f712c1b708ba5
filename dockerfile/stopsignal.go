package dockerfile

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The real-time signals as container engines number them: the C library keeps the
// first two for itself.
const (
	firstRealTime = 34
	lastSignal    = 64
)

// otherNames are second names of signals.
var otherNames = map[string]string{"SIGIOT": "SIGABRT", "SIGCLD": "SIGCHLD", "SIGPOLL": "SIGIO"}

// checkSignal checks an argument of STOPSIGNAL (Dockerfile reference, STOPSIGNAL):
// a number, or a name in any case, with or without SIG.
func checkSignal(text string) error {
	if number, err := strconv.Atoi(text); err == nil {
		if number < 1 || number > lastSignal {
			return fmt.Errorf("%d is not a signal's number, 1 to %d", number, lastSignal)
		}
		return nil
	}
	name := "SIG" + strings.TrimPrefix(strings.ToUpper(text), "SIG")
	if other, ok := otherNames[name]; ok {
		name = other
	}
	if unix.SignalNum(name) != 0 || isRealTime(name) {
		return nil
	}
	return fmt.Errorf("%q is no signal's name", text)
}

// isRealTime recognises SIGRTMIN, SIGRTMIN+n, SIGRTMAX-n and SIGRTMAX.
func isRealTime(name string) bool {
	for _, end := range []string{"SIGRTMIN+", "SIGRTMAX-"} {
		if strings.HasPrefix(name, end) {
			n, err := strconv.ParseUint(name[len(end):], 10, 8)
			return err == nil && n > 0 && n <= lastSignal-firstRealTime
		}
	}
	return name == "SIGRTMIN" || name == "SIGRTMAX"
}
