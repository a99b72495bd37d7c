// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// CPUTime is how long the process has kept processors busy so far, in user and
// kernel mode together, in steps of 10 ms; 0 where there is no /proc. On a busy
// machine it says more than the clock.
func (p *Process) CPUTime() time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid()))
	if err != nil {
		return 0
	}
	// The second field, the program's name in brackets, may hold spaces.
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	const utime, stime = 14 - 3, 15 - 3 // proc_pid_stat(5) counts from 1
	if len(fields) <= stime {
		return 0
	}
	var sum time.Duration
	for _, f := range []string{fields[utime], fields[stime]} {
		ticks, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0
		}
		sum += time.Duration(ticks) * (time.Second / 100) // USER_HZ is 100 on every Linux
	}
	return sum
}
