package main

import "strings"

// didYouMean names the known text nearest to text, or is "" when none is near: a third
// of the letters, and at least one, may be wrong. Of equally near ones it is the one that
// begins like text for longest.
func didYouMean(text string, known []string) string {
	limit := max(1, len(strings.TrimLeft(text, "-"))/3)
	best, distance, common := "", limit+1, 0
	for _, k := range known {
		d, c := editDistance(text, k), commonPrefix(text, k)
		if d < distance || d == distance && best != "" && c > common {
			best, distance, common = k, d, c
		}
	}
	if best == "" {
		return ""
	}
	return "did you mean " + best + "?"
}

func commonPrefix(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// editDistance is how many bytes must be inserted, removed or replaced, or neighbours
// exchanged, to make b of a, no byte twice: the optimal string alignment distance.
func editDistance(a, b string) int {
	var before, above []int
	row := make([]int, len(b)+1) // from the prefix of a so far to each prefix of b
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before, above, row = above, row, make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			replaced := above[j]
			if a[i] != b[j] {
				replaced++
			}
			row[j+1] = min(replaced, row[j]+1, above[j+1]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
	}
	return row[len(b)]
}
