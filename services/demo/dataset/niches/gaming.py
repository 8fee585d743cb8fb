"""Gaming: a player with a channel, a maker of controllers and desk gear, a board game and console café."""

from __future__ import annotations

from services.demo.dataset.banks import lines, words
from services.demo.dataset.niches.world import Group, World

CREATOR = World(
    names=words("Save Point Sal|Cozy Quest|Lagless Lena|Hollow Lantern|Dad Plays Late|Pixel Orchard"),
    taglines=lines("""
        Indie games, long evenings, bad puns.
        Guides and challenge runs without spoilers.
        I play on easy and I'm not sorry.
    """),
    tags=words("#indiegames|#letsplay|#gamingclips|#cozygames|#speedrun"),
    groups=(
        Group(
            ref="game",
            names=(words("Ember|Hollow|Tidal|Last|Moss|Iron"), words("Harbor|Lantern|Orchard|Kingdoms|Drift|Protocol")),
            aspects=words("soundtrack|art style|final boss|combat|story|map design|voice acting|ending"),
            titles=lines("""
                {name}: the first three hours
                I finished {name} so you don't have to
                {name} is the cozy game of the year
                {name} all secret endings
                {name} with no upgrades, is it possible?
                Hidden things you missed in {name}
                {name} honest review
            """),
            proper=True,
        ),
        Group(
            ref="run",
            names=(
                words("no-damage|one-life|pacifist|blindfolded|fishing-only|level 1"),
                words("boss run|dungeon run|speedrun|island run"),
            ),
            aspects=words("commentary|final fight|skip at the bridge|editing|death counter|chat reaction|route"),
            titles=lines("""
                The {name} that broke me
                {name}: attempt 214
                {name} explained by a bad player
                {name}, but chat picks my gear
                World's slowest {name}
            """),
        ),
        Group(
            ref="guide",
            names=(
                words("beginner|crafting|stealth|farming|late game|co-op"),
                words("build guide|tier list|settings guide|starter guide"),
            ),
            aspects=words("ranking|explanation|pinned table|settings part|build|timestamp list"),
            titles=lines("""
                {name} in 8 minutes
                The {name} nobody asked for
                {name}: patch 1.4 update
                {name} for people with jobs
                I tested everything: {name}
            """),
        ),
    ),
    praise=lines("""
        The {name} had me crying at 1am, no regrets.
        Finally beat it because of the {name}, took me {span}.
        Best take on the {name} so far.
        You make even a failed {ref} fun to watch.
        I don't even own this {ref} and I watched till the end.
        The jump cut when you fell off the map, I'm dead.
        Chill voice, no screaming, perfect {ref} content for after work.
        {who_cap} and I watch every {ref} you post over dinner.
        Bought it after your first video and it's now my favourite {ref}.
        That save at the end of the {name} was unreal.
        Your humour carries every single {ref}.
    """),
    gripe=lines("""
        Big spoiler for the {name} in the thumbnail, thanks a lot.
        The {name} is outdated since the last patch.
        You clearly didn't finish the {name} before judging it.
        Too many cuts, can't follow the {name} at all.
        Mic peaks every time you shout in the {name}, my ears.
        Twelve minutes for a {ref} that fits in two.
        Clickbait title, the {name} is barely in it.
        Tried the {name} for {span}, doesn't work on my version.
    """),
    ask=lines("""
        Does the {name} run okay on an old laptop?
        Which difficulty is the {name} on?
        Will there be a part two of the {name}?
        Is the {name} fun in co-op?
        What's the song at the start of the {name}?
        How many hours did the {name} take you?
        Which controller do you use for the {name}?
        Do I need to play the first one before this {ref}?
    """),
    note=lines("""
        I've been stuck in the same cave for {span}.
        My backlog just got one {ref} longer.
        {who_cap} says a {ref} isn't a hobby. We don't talk any more.
        Me: one more {ref}. Also me: it's sunrise.
        Timestamp for the boss: about two thirds in.
        I play the same {ref} on easy with subtitles and tea.
    """),
)

BRAND = World(
    names=words("Tactel Gear|Moth & Mouse|Kasumi Controls|Gridlock Gear|Lowping"),
    taglines=lines("""
        Controllers, keyboards and mats for long nights.
        Gear that clicks. Parts you can replace.
        Made by players who break things.
    """),
    tags=words("#gaminggear|#setup|#keyboard|#controller|#newdrop"),
    groups=(
        Group(
            ref="controller",
            names=(words("Mantis|Orbit|Rook|Comet"), words("Wireless|Mini|Pro 2|Arcade")),
            aspects=words("stick feel|battery life|trigger|grip|button layout|weight|rumble"),
            titles=lines("""
                The {name} is here
                {name}: sticks you can swap
                We dropped the {name} 500 times
                {name} in sunset orange
                Firmware day for the {name}
            """),
        ),
        Group(
            ref="keyboard",
            names=(words("Tern|Slab|Koto|Drum"), words("60|75|TKL|Silent")),
            aspects=words("sound|switch feel|keycap quality|software|cable|typing angle|backlight"),
            titles=lines("""
                Sound test: {name}
                Build your own {name}
                {name}: quiet enough for calls
                {name} back in stock on Friday
                Inside the {name}
            """),
        ),
        Group(
            ref="desk mat",
            names=(words("Koi|Nebula|Topo|Forest"), words("XL mat|speed mat|control mat")),
            aspects=words("print|surface|edge stitching|size|colour|grip on the desk"),
            titles=lines("""
                {name}: drawn by our community
                Limited run: {name}
                {name} on your desks
                How to wash the {name}
                {name} or plain black? Vote below
            """),
        ),
    ),
    praise=lines("""
        The {name} feels amazing straight out of the box.
        My aim didn't get better with the {name} but my mood did.
        Best {ref} I've had in ten years of gaming.
        The {name} survived a full energy drink. Legend.
        {who_cap} tried my {name} once and ordered one the same night.
        Been hammering the {name} daily for {span}, no issues.
        Love that I can open the {name} and replace parts myself.
        My whole desk is built around the {name} now.
        The {name} is worth every cent.
    """),
    gripe=lines("""
        My {name} started drifting after {span}.
        The {name} double-types half my words.
        Software for the {name} crashes on start every time.
        The {name} arrived with a bent corner.
        Print on the {name} faded in weeks.
        Connection of the {name} drops in the middle of a match.
        Waiting on a replacement {name} for {span}.
        The {name} feels hollow and cheap for that money.
    """),
    ask=lines("""
        Does the {name} work on handhelds?
        Will the {name} come in purple?
        Is the {name} good for small hands?
        Can I use the {name} wired as well?
        When is the next restock of the {name}?
        Do you sell spare parts for the {name}?
        Is there a left-handed version of the {name}?
        What's the latency on the {name}?
    """),
    note=lines("""
        Still on a {ref} held together with tape.
        My partner thinks the {name} cost half of what it did. Let's keep it that way.
        Voting for a green {name}.
        Waiting for a sale on the {name}.
        I have the first {ref} you ever made, still plugged in.
    """),
)

LOCAL = World(
    names=words("The Dice Cellar|Respawn Café|Meeple & Mug|Joystick Corner|Level Two Lounge"),
    taglines=lines("""
        Board games, consoles and toasties until late.
        400 games, eight consoles, one grumpy cat.
        Bring friends or find some here.
    """),
    tags=words("#boardgames|#gamenight|#retrogaming|#gamecafe|#shoplocal"),
    groups=(
        Group(
            ref="event",
            names=(
                words("Friday|retro|couples|beginners|charity"),
                words("board game night|console tournament|quiz night|role-playing evening|painting workshop"),
            ),
            aspects=words("atmosphere|organisation|host|table size|game choice|prize|crowd"),
            titles=lines("""
                {name}: sign-up is open
                Photos from the {name}
                {name}, no experience needed
                {name} is full, join the waitlist
                Rules for the {name}
                New host for the {name}
            """),
        ),
        Group(
            ref="booking",
            names=(
                words("birthday|two-hour|all-day|student|team"),
                words("console booth|table package|game library pass|party room"),
            ),
            aspects=words("price|game selection|food|booth|booking|cleanliness|service"),
            titles=lines("""
                {name}: book online
                What you get with the {name}
                {name} on weekdays is cheaper
                We added games to the {name}
                Rainy weekend? {name}
            """),
        ),
    ),
    praise=lines("""
        {staff} taught us three games and never lost patience.
        Did the {name} for my birthday and everyone had a blast.
        The {name} is the best fun you can have for that money.
        Came alone to the {name} and left with new friends.
        Toasties are dangerously good and the {name} is great value.
        Took {who} to the {name}, now it's a monthly thing.
        Games are complete and clean, which is rare.
        Kid-friendly, dog-friendly, nerd-friendly.
        We stayed four hours at the {name} and it felt like one.
    """),
    gripe=lines("""
        Our {name} was given away although we had booked.
        Two controllers in the {name} didn't work and nobody cared.
        So loud at the {name} that we couldn't hear the rules.
        Pieces were missing from half of the games we picked.
        The {name} started an hour late.
        We waited 40 minutes for two drinks during the {name}.
        Sticky tables at the {name}, and I don't mean once.
        The {name} got cancelled by a text ten minutes before.
    """),
    ask=lines("""
        Is the {name} okay for kids around eight?
        Do you have vegan food during the {name}?
        How many people can join the {name}?
        Can we bring our own games to the {name}?
        Is there a fee for the {name}?
        Can I book the {name} for {day}?
        Do I have to come with a group?
    """),
    note=lines("""
        Lost at the {name} again, the dice hate me.
        We're five people for the {name}, maybe six.
        I only come for the cat.
        Never been to a {name}, might try on {day}.
        Someone left a blue scarf at table four.
    """),
    place="café",
)
