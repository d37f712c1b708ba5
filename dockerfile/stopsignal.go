package dockerfile

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The real-time signals as container engines number them: the C library keeps the
// first two for itself.
const (
	firstRealTime = 34
	lastSignal    = 64
)

// signalNames are Linux's (signal(7)), whatever system checks the Dockerfile.
var signalNames = strings.Fields(`SIGHUP SIGINT SIGQUIT SIGILL SIGTRAP SIGABRT SIGIOT SIGBUS SIGFPE SIGKILL SIGUSR1 SIGSEGV
	SIGUSR2 SIGPIPE SIGALRM SIGTERM SIGSTKFLT SIGCHLD SIGCLD SIGCONT SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGXCPU SIGXFSZ
	SIGVTALRM SIGPROF SIGWINCH SIGIO SIGPOLL SIGPWR SIGSYS`)

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
	if slices.Contains(signalNames, name) || isRealTime(name) {
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
