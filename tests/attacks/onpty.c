// Runs a program on a terminal of its own, as session leader, and prints the bytes that were injected into that
// terminal's input: onpty PROGRAM ARGUMENT...
//
// Output is passed on. At the end "injected: BYTES" is printed, or "nothing was injected". The exit
// status is the program's, or 90 if it stopped; it is then killed, not continued.

#include "common.h"

#include <poll.h>
#include <pty.h>
#include <termios.h>

int main(int count, char **argv) {
    if (count < 2) return 2;
    int master, slave;
    if (openpty(&master, &slave, NULL, NULL, NULL)) give_up("openpty");
    struct termios modes;
    tcgetattr(slave, &modes);
    // Injected bytes must neither be echoed nor wait for the end of a line.
    modes.c_lflag &= ~(tcflag_t)(ECHO | ICANON);
    tcsetattr(slave, TCSANOW, &modes);
    pid_t child = fork();
    if (child == 0) {
        setsid();
        ioctl(slave, TIOCSCTTY, 0);
        // As a shell does for a job.
        pid_t job = fork();
        if (job == 0) {
            setpgid(0, 0);
            signal(SIGTTOU, SIG_IGN);
            tcsetpgrp(slave, getpid());
            signal(SIGTTOU, SIG_DFL);
            dup2(slave, 0), dup2(slave, 1), dup2(slave, 2);
            close(slave), close(master);
            execvp(argv[1], argv + 1);
            _exit(127);
        }
        int status;
        waitpid(job, &status, WUNTRACED);
        if (WIFSTOPPED(status)) {
            // Longer than any time limit of the tests; ended by the end of the job.
            for (int tenths = 0; tenths < 40 && waitpid(job, &status, WNOHANG) == 0; tenths++)
                poll(NULL, 0, 100);
            if (WIFSTOPPED(status)) {
                kill(job, SIGKILL);
                waitpid(job, NULL, 0);
                _exit(90);
            }
        }
        _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    }
    char buffer[4096];
    long passed = 0;
    struct pollfd poller = {.fd = master, .events = POLLIN};
    int status = 0;
    bool ended = false;
    while (true) {
        if (poll(&poller, 1, ended ? 0 : 20) > 0 && (poller.revents & POLLIN)) {
            ssize_t got = read(master, buffer, sizeof buffer);
            if (got <= 0) break;
            passed += got;
            if (passed < 65536 && write(1, buffer, got) != got) break;
        } else if (ended) {
            break;
        } else {
            ended = waitpid(child, &status, WNOHANG) == child;
        }
    }
    if (!ended) waitpid(child, &status, 0);
    printf("passed on: %ld bytes\n", passed);
    // The session, the terminal's owner, is gone; its input queue still exists.
    modes.c_cc[VMIN] = 0;
    modes.c_cc[VTIME] = 0;
    tcsetattr(slave, TCSANOW, &modes);
    fcntl(slave, F_SETFL, O_NONBLOCK);
    ssize_t got = read(slave, buffer, sizeof buffer);
    if (got > 0)
        printf("injected: %.*s\n", (int)got, buffer);
    else
        puts("nothing was injected");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
