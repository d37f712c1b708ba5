package builder

import (
	"bufio"
	"io"
)

const (
	// longestRecord bounds a log record, which may hold what a server sent.
	longestRecord = 8 << 10
	// waitingRecords bounds those that wait for a slow logger.
	waitingRecords = 256
)

// forwardLog turns what the worker's libraries write into log records. It always reads
// on, for a worker whose output nobody takes stands still: the end of a long line is left
// out, and lines that come faster than the logger takes them.
func (b *Builder) forwardLog(r io.Reader) {
	records := make(chan string, waitingRecords)
	go func() {
		for text := range records {
			b.log.Info(text, "from", "worker")
		}
	}()
	defer close(records)
	for lines := bufio.NewReaderSize(r, longestRecord); ; {
		line, more, err := lines.ReadLine()
		if err != nil {
			return
		}
		text := string(line)
		if more {
			text += "..."
		}
		for more && err == nil {
			_, more, err = lines.ReadLine()
		}
		select {
		case records <- text:
		default:
		}
	}
}
