# Completion of PROGRAM for fish; `aegis` says what there is.
function FUNCTION
    command --query aegis; or return
    set -l words (commandline --current-process --tokenize --cut-at-cursor)
    set -l current (commandline --current-token --cut-at-cursor)
    set -l arguments $words
    set -e arguments[1]
    set -l answer (aegis __complete PROGRAM $arguments "$current" 2>/dev/null)
    set -l more (string split ' ' -- $answer[1])
    set -e answer[1]
    string join \n -- $answer
    # The value of --option=value.
    set -l option (string match --regex -- '^--[^=]*=' $current)
    set -l value (string replace -- "$option" '' $current)
    switch "$more[1]"
        case files
            for file in (__fish_complete_path "$value")
                echo "$option$file"
            end
        case directories
            for directory in (__fish_complete_directories "$value")
                echo "$option$directory"
            end
        case command
            set -e words[1..$more[2]]
            complete --do-complete (string join ' ' -- (string escape -- $words) $current)
    end
end
complete --command PROGRAM --no-files --keep-order --arguments '(FUNCTION)'
